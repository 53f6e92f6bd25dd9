"""The player in a real browser: opened, stepped, unfolded, and read back. Skipped without Playwright or a Chromium."""

import importlib
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import minidl
from minidl import nn, optim
from minidl.inspect import record
from minidl.nn import functional as F

ROOT = Path(__file__).resolve().parent.parent
playwright = pytest.importorskip("playwright.sync_api")


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as p:
        options = {"args": ["--no-sandbox"]}  # the page is our own, and containers have no user namespaces
        system = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
        try:
            found = p.chromium.launch(executable_path=system, **options) if system else p.chromium.launch(**options)
        except playwright.Error as error:
            pytest.skip(f"no Chromium: {str(error).splitlines()[0]}")
        yield found
        found.close()


@pytest.fixture
def play(browser, tmp_path):
    """Open a recording in a page without a network; any error in it, or any request, fails the test."""
    problems = []
    context = browser.new_context(viewport={"width": 1280, "height": 720}, offline=True)

    def open_it(recording):
        recording.save(tmp_path / "step.html")
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("request", lambda request: None if request.url.startswith("file:") else problems.append(request.url))
        page.goto((tmp_path / "step.html").as_uri())
        return page

    yield open_it
    context.close()
    assert not problems, problems


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        self.head = nn.Linear(12, 4)

    def forward(self, x):
        return self.head(self.features(x).flatten(1))


def title(page):
    return page.locator("#stage h2 > span").inner_text()


def rows(page):
    return page.locator("#tape .row b").all_inner_texts()


def test_a_step_is_opened_stepped_and_unfolded(play):
    model, images, labels = Net(), minidl.randn(2, 2, 4, 4), minidl.tensor([1, 3])
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    with record(check=True, title="One step") as r:
        loss = F.cross_entropy(model(images), labels)  # the loss
        loss.backward()
        optimizer.step()
    page = play(r)
    assert page.title() == "One step"
    assert rows(page) == ["images", "model", "features", "0", "1", "2", "reshape", "head", "labels", "loss"]
    assert page.locator("#count").inner_text() == "1 / 13" and title(page) == "0"
    assert page.locator(".row.now b").inner_text() == "0"
    page.keyboard.press("b")  # the backward pass
    assert title(page) == "loss" and page.locator("#count").inner_text() == "7 / 13"
    assert "loss = F.cross_entropy(model(images), labels)  # the loss" in page.locator(".source").inner_text()
    assert page.locator("figure.g .scalar").inner_text() == "1"
    page.keyboard.press("ArrowRight")
    assert title(page) == "head"
    products = page.locator(".product")
    assert [products.nth(i).get_attribute("data-input") for i in range(3)] == ["input", "weight", "bias"]
    assert "stays in model.head.weight.grad" in products.nth(1).inner_text()
    assert page.locator(".check.right").count() == 3 and page.locator(".check.wrong").count() == 0
    number = int(products.nth(1).locator("figure.g").get_attribute("data-value"))
    shown = products.nth(1).locator("figure.g p").inner_text()
    assert r.values[number]["max"] == model.head.weight.grad.numpy().max() and f"{r.values[number]['max']:.3g}"[:4] in shown
    assert page.locator(".chip.lit").all_inner_texts() == ["weight", "bias"]
    page.keyboard.press("ArrowLeft")
    assert title(page) == "loss"
    page.keyboard.press("u")  # all is unfolded already: this folds it
    assert rows(page) == ["images", "model", "labels", "loss"]
    page.keyboard.press("ArrowRight")
    assert title(page) == "model" and "Net, 5 steps in one" in page.locator("#stage h2").inner_text()
    assert "Gradients that stay here" in page.locator("#stage").inner_text()
    page.locator("#stage button", has_text="unfold").click()
    assert "features" in rows(page) and title(page) == "head"  # still at the same step
    page.locator("#slider").evaluate("s => { s.value = s.max; s.dispatchEvent(new Event('input')); }")
    assert title(page) == "SGD.step" and page.locator(".update-of").count() == 4
    page.keyboard.press("ArrowRight")  # the end is the end
    assert title(page) == "SGD.step"
    page.locator(".row", has_text="cross_entropy").click()
    assert title(page) == "loss"


def test_the_window_of_a_convolution_computes_the_pixel(play):
    x, conv = minidl.randn(2, 2, 5, 5), nn.Conv2d(2, 3, 3, stride=2, padding=1)
    with record() as r:
        out = conv(x)
        out.sum().backward()
    page, wanted = play(r), out.detach().numpy()
    window = page.locator(".window")

    def value():
        return float(window.get_attribute("data-value"))

    assert value() == pytest.approx(wanted[0, 0, 0, 0], abs=1e-5)
    page.locator(".window select").select_option("2")
    assert value() == pytest.approx(wanted[0, 2, 0, 0], abs=1e-5)
    picture = page.locator(".window canvas").first
    box = picture.bounding_box()
    picture.click(position={"x": box["width"] / 2 - 8, "y": box["height"] - 4})  # the lower right of the first channel
    assert window.get_attribute("data-pixel") == "2,2" and value() == pytest.approx(wanted[0, 2, 2, 2], abs=1e-5)
    page.keyboard.press("b")
    page.keyboard.press("ArrowRight")
    assert "∂L/∂out[0, 2, 2, 2] ≈ 1" in page.locator(".window").inner_text()


def test_meeting_gradients_unbroadcasting_nan_and_a_wrong_rule(play):
    w, b = minidl.ones(3, requires_grad=True), minidl.zeros(1, requires_grad=True)
    x = minidl.tensor([[1.0, np.nan, 2.0], [1.0, 1.0, 1.0]])
    with record(check=True) as r:
        (w * x + b + w).sum().backward()
    r.steps[-1].products[0].check = "wrong: the rule says 1, differences say 2"
    page = play(r)
    page.keyboard.press("End")
    assert "this is number 2" in page.locator("#stage").inner_text() and "1 NaN" in page.locator("#stage").inner_text()
    assert page.locator(".check.wrong").inner_text().startswith("✗ wrong: the rule says 1")
    page.keyboard.press("ArrowLeft")
    assert "un-broadcast: summed over dimension 0, 1" in page.locator("#stage").inner_text()
    page.locator("figure.g canvas").first.hover(position={"x": 5, "y": 5})
    assert page.locator("#tip").inner_text() == "[0, 0] 1"


class Twice(minidl.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, g):
        return g * 2


def test_a_convolution_of_nan_a_function_and_a_source_that_quotes_tags(play):
    model = nn.Sequential(nn.Conv2d(1, 2, 3))
    with minidl.no_grad():
        model[0].bias[0], model[0].weight[0, 0, 0, 0] = float("nan"), float("inf")
    with np.errstate(invalid="ignore"), record() as r:
        loss = Twice.apply(model(minidl.randn(1, 1, 5, 5))).sum()  # quotes <!--<script> and </script>
        loss.backward(minidl.tensor(3.0))
    page = play(r)
    assert page.locator("#count").inner_text() == "1 / 6"
    assert page.locator(".window").get_attribute("data-value") == "NaN"
    assert "<!--<script> and </script>" in page.locator("#stage .source").inner_text()
    page.keyboard.press("ArrowRight")
    assert title(page) == "Twice"
    page.keyboard.press("b")
    assert "the way back begins" not in page.locator("#stage .words").first.inner_text()  # with 3, and not with 1


def test_variables_have_their_names_on_the_tape(play):
    a, b = minidl.tensor(2.0, requires_grad=True), minidl.tensor(-3.0, requires_grad=True)
    with record() as r:
        e = a * b
        loss = (e + a).tanh()
        loss.backward()
    page = play(r)
    assert rows(page) == ["a", "b", "e", "add", "loss"]
    assert page.locator(".row", has_text="loss").locator(".kind").inner_text() == "tanh"


def test_keys_for_the_teacher(play):
    x = minidl.ones(2, requires_grad=True)
    with record() as r:
        (x * 2).sum().backward()
    page = play(r)
    size = page.evaluate("parseFloat(getComputedStyle(document.documentElement).fontSize)")
    page.keyboard.press("+")
    assert page.evaluate("parseFloat(getComputedStyle(document.documentElement).fontSize)") == size + 2
    page.keyboard.press("d")
    assert page.evaluate("document.documentElement.className") == "dark"
    page.keyboard.press(" ")
    assert page.locator("#play").inner_text() == "pause"
    page.wait_for_function("document.getElementById('count').textContent === '2 / 4'", timeout=5000)
    page.keyboard.press(" ")
    assert page.locator("#play").inner_text() == "play"
    page.keyboard.press("ArrowUp")
    assert page.locator(".row.now").inner_text().startswith("mul")


def test_a_resnet_20_stays_usable(play, monkeypatch):
    pytest.importorskip("matplotlib")  # which the example imports
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    model = importlib.import_module("resnet_cifar10").ResNet20()
    x, y = minidl.randn(2, 3, 32, 32), minidl.tensor([1, 2])
    with record(title="ResNet-20") as r:
        F.cross_entropy(model(x), y).backward()
    page = play(r)
    assert len(r.html()) < 4e6
    assert page.locator("#tape .row").count() <= 40
    stops = int(re.search(r"/ (\d+)", page.locator("#count").inner_text())[1])
    times = page.evaluate(
        """(n) => { const times = [];
        for (let i = 1; i < n; i++) { const t = performance.now(); go(i); times.push(performance.now() - t); }
        return times; }""",
        stops,
    )
    assert sorted(times)[len(times) // 2] < 500, times  # milliseconds a step; a tenth of that where nothing else runs
    page.keyboard.press("u")
    assert page.locator("#tape .row").count() > 80
    page.keyboard.press("End")
    assert page.locator(".row.now").count() == 1 and page.locator(".row.now").is_visible()

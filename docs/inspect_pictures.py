"""Draws the pictures of docs/inspect.md: the player in a headless browser.

    python docs/inspect_pictures.py

Wants Playwright and a Chromium, as tests/test_player.py does, and Pillow.
"""

import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

import minidl
import minidl.nn.functional as F
from minidl import nn
from minidl.vision.datasets import Shapes

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "examples"))
from resnet_cifar10 import ResNet20


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4 * 8 * 8, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.norm(self.conv(x))), 2)
        return self.fc(x.flatten(1))


def small_step(images, labels):
    model = Net()
    optimizer = minidl.optim.SGD(model.parameters(), lr=0.1)
    with minidl.inspect.record(check=True, title="A first network") as r:
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
    return r


def large_step(images, labels):
    model = ResNet20()
    with minidl.inspect.record(title="ResNet-20") as r:
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
    return r


def main():
    minidl.manual_seed(0)
    drawn = Shapes(size=4)
    images = minidl.tensor(drawn.data.transpose(0, 3, 1, 2)).float() / 127.5 - 1
    labels = minidl.tensor(drawn.targets)
    small, large = small_step(F.avg_pool2d(images, 2), labels), large_step(images[:2], labels[:2])
    with sync_playwright() as p, tempfile.TemporaryDirectory() as folder:
        browser = p.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 720})

        def shoot(recording, name, keys, script=""):
            recording.save(Path(folder) / "step.html")
            page.goto((Path(folder) / "step.html").as_uri())
            for key in keys:
                page.keyboard.press(key)
            page.evaluate(script or "0")
            path = HERE / "_static" / f"player-{name}.png"
            page.screenshot(path=path)
            Image.open(path).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)

        shoot(small, "backward", ["b", "ArrowRight"])
        window = "state.pixel = [5, 6]; render(); document.querySelector('.window').scrollIntoView()"
        shoot(small, "window", [], window)
        shoot(large, "resnet", ["b", *["ArrowRight"] * 8])
        browser.close()


if __name__ == "__main__":
    main()

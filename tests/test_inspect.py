"""What is recorded of a step, and how it is told: steps, gradients that meet, drawings, words, sums."""

import base64
import builtins
import json
import re
import sys
import types
import xml.etree.ElementTree as ET

import numpy as np
import pytest

import minidl
from minidl import nn, optim
from minidl.autograd import differentiable
from minidl.autograd.mode import mode
from minidl.autograd.op import Op
from minidl.autograd.tape import TensorBase
from minidl.inspect import explain, formulas, graph, player, print_tree, record, summary
from minidl.inspect.pictures import picture
from minidl.inspect.places import code_of
from minidl.nn import functional as F


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.body = nn.Sequential(nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
        self.head = nn.Linear(12, 4)

    def forward(self, x):
        return self.head(self.body(self.norm(self.conv(x))))


def recorded(check=False, update=False):
    model, images, labels = Net(), minidl.randn(2, 2, 4, 4), minidl.tensor([1, 3])
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    with record(check=check, title="A <step>") as r:
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        if update:
            optimizer.step()
    return r, model


def test_the_steps_of_a_network():
    r, _ = recorded(update=True)
    ops = "conv2d normalise relu max_pool2d reshape linear cross_entropy".split()
    names = [(s.phase, r.rows[s.row].op or r.rows[s.row].name) for s in r.steps]
    assert names[:7] == [("forward", op) for op in ops] and names[7:14] == [("backward", op) for op in reversed(ops)]
    assert [name for _, name in names[14:]] == [
        f"model.{name}" for name in ("conv.weight", "conv.bias", "norm.weight", "norm.bias", "head.weight", "head.bias")
    ]
    assert [r.path(s.row) for s in r.steps[:7]] == [
        *("model.conv", "model.norm", "model.body.0", "model.body.1", "model.body.2", "model.head"),
        "",
    ]
    conv = r.rows[r.steps[0].row]
    assert [(name, r.rows[i].name, r.rows[i].shape) for name, i in conv.inputs] == [
        ("input", "images", (2, 2, 4, 4)),
        ("weight", "model.conv.weight", (3, 2, 3, 3)),
        ("bias", "model.conv.bias", (3,)),
    ]
    assert (
        conv.site["file"] == "test_inspect.py" and conv.site["text"] == "return self.head(self.body(self.norm(self.conv(x))))"
    )
    assert mode.watcher is None and not r._alive


def test_the_numbers_are_the_step_s():
    r, model = recorded()
    for step in r.steps[7:]:
        for p in step.products:
            name = r.rows[p.row].name
            if name.startswith("model."):
                grad = model.get_parameter(name[6:]).grad.numpy()
                seen = r.values[p.summed if p.summed >= 0 else p.value]
                assert seen["max"] == grad.max() and seen["min"] == grad.min() and seen["shape"] == list(grad.shape)


def test_recording_changes_nothing():
    grads = []
    for watch in (False, True):
        minidl.manual_seed(3)
        model, x, y = Net(), minidl.randn(2, 2, 4, 4), minidl.tensor([1, 3])
        with record(check=True) if watch else minidl.enable_grad():
            F.cross_entropy(model(x), y).backward()
        grads.append([p.grad.numpy() for p in model.parameters()])
    for a, b in zip(*grads):
        np.testing.assert_array_equal(a, b)


def test_meeting_unbroadcasting_and_grads_that_were_there():
    w, b = minidl.ones(3, requires_grad=True), minidl.zeros(1, requires_grad=True)
    x = minidl.arange(6.0).reshape(2, 3)
    for again in (False, True):
        with record(check=True) as r:
            (w * x + b + w).sum().backward()
        products = [p for s in r.steps if s.phase == "backward" for p in s.products]
        to_w = [p for p in products if r.rows[p.row].name == "w"]
        assert [(p.arrival, p.expected, p.before) for p in to_w] == [(1, 2, again), (2, 2, again)]
        assert to_w[0].total == -1 and r.values[to_w[1].total]["numbers"] == ["5", "7", "9"]
        (to_b,) = (p for p in products if r.rows[p.row].name == "b")
        assert r.values[to_b.value]["shape"] == [2, 3] and r.values[to_b.summed]["numbers"] == ["6"]
        assert {p.check for p in products} == {"right"}
        assert r.rows[r.steps[0].row].name == "mul"  # it has no variable
        assert code_of(minidl.mul.op.rules[0].pull) == "lambda g, other: g * other" == to_w[1].code


@differentiable
def cube(input):
    return input**3


cube.vjp(input=lambda g, input: g * 2 * input**2)  # wrong: 3 is right


def test_differences_find_a_wrong_rule_and_say_where_they_cannot_judge():
    x = minidl.tensor([1.0, -2.0], requires_grad=True)
    with record(check=True) as r:
        F.dropout(cube(x), 0.5).sum().backward()
    checks = {r.rows[s.row].op: s.products[0].check for s in r.steps if s.phase == "backward"}
    assert checks["sum"] == "right" and checks["dropout"].startswith("not judged: the op gives another")
    with record(check=True) as r:
        (cube(x) + minidl.relu(minidl.zeros(2) * x)).sum().backward()
    checks = {r.rows[s.row].op: s.products[-1].check for s in r.steps if s.phase == "backward"}
    assert re.match(r"wrong: the rule says .*, differences say ", checks["cube"])
    assert checks["relu"] == "not judged: there is a kink" and checks["add"] == "right"
    assert "✗" in str(r) and "✗ finite differences: wrong" in r.text(len(r.steps) - 1) + r.text(len(r.steps) - 2)


def test_every_gradient_of_a_network_is_judged_right():
    r, _ = recorded(check=True)
    checks = [p.check for s in r.steps for p in s.products]
    assert len(checks) == 12 and set(checks) == {"right"}


class Double(minidl.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, g):
        return g * 2


def test_functions_sequences_changes_in_place_second_order_and_the_past():
    x = minidl.ones(2, requires_grad=True)
    before = x * 3  # not recorded
    with record(check=True) as r:
        y = minidl.cat([Double.apply(before), x])
        y *= 2
        y[0] = 0
        y.sum().backward()
    backward = [(r.rows[s.row].op, [p.input for p in s.products]) for s in r.steps if s.phase == "backward"]
    assert backward[0] == ("sum", ["input"]) and ("cat", ["tensors[0]", "tensors[1]"]) in backward
    assert ("Double", ["input 0"]) in backward and backward[-1] == ("mul", ["input"])
    np.testing.assert_array_equal(x.grad.numpy(), [2, 14])
    player.data(r)
    x.grad = None
    with record() as r:
        (g,) = minidl.autograd.grad((x**3).sum(), x, create_graph=True)
        g.sum().backward()
    assert [s.phase for s in r.steps].count("forward") == 3  # pow and sum, and the sum of the gradient
    np.testing.assert_array_equal(x.grad.numpy(), [6, 6])


def test_variables_name_what_ops_made():
    a, b = minidl.tensor(2.0, requires_grad=True), minidl.tensor(-3.0, requires_grad=True)
    with record() as r:
        e = a * b
        loss = (e + a).tanh()
        loss.backward()
    assert [(r.rows[s.row].name, r.rows[s.row].op) for s in r.steps[:3]] == [("e", "mul"), ("add", "add"), ("loss", "tanh")]
    assert "goes to      e = mul" in r.text(4) and "e = mul" in str(r)


def test_nothing_an_error_inside_and_no_gradient():
    with record() as r:
        pass
    assert str(r) == "nothing was recorded" and "data" in r.html()
    with pytest.raises(ZeroDivisionError), record() as r:
        minidl.ones(2) + 1
        raise ZeroDivisionError
    assert [r.rows[s.row].op for s in r.steps] == ["add"] and mode.watcher is None
    model = Net()
    with minidl.no_grad(), record() as r:
        model(minidl.ones(1, 2, 4, 4))
    assert [r.rows[s.row].op for s in r.steps][:2] == ["conv2d", "add"] and len(r.steps) == 7
    with pytest.raises(IndexError, match="there is no step 7; the recording has 7"):
        r.text(7)


def test_pictures():
    p = picture(np.array([[1.0, -2.0], [np.nan, np.inf]], np.float32))
    assert (p["nan"], p["inf"], p["min"], p["max"], p["tiles"], p["top"]) == (1, 1, -2.0, 1.0, [1, 1, 2, 2], 2.0)
    assert np.frombuffer(base64.b64decode(p["levels"]), np.int8).tolist() == [64, -127, -128, 127]
    assert p["numbers"] == ["1", "-2", "nan", "inf"]
    for shape in [(), (0,), (3, 0), (300,), (300, 5), (200, 300), (70, 3, 3), (9, 20, 40, 40), (2, 2, 2, 2, 2), (1, 1, 0, 3)]:
        p = picture(np.ones(shape))
        shown = int(np.prod(p["tiles"]))
        assert shown <= 64 * 64 and len(p["levels"]) == 4 * -(-shown // 3) and len(p["tiles"]) == 4
    assert picture(np.zeros(4))["zeros"] == 1 and picture(np.array([True, False]))["zeros"] == 0.5


def test_formulas_name_what_ops_have():
    ops = {f.op.name: f.op for f in _all_ops() if isinstance(getattr(f, "op", None), Op)}
    for name, (forward, rules) in formulas.FORMULAS.items():
        op = ops[name]
        known = {*op.names, "out", "g"}
        assert set(rules) <= {op.names[i] for i in op.inputs}, name
        for text in (forward, *rules.values()):
            assert set(re.findall(r"{(\w+)}", text)) <= known, (name, text)
    shown = list(formulas.tokens("{input} @ {weight}ᵀ + {bias}", {"input": (2, 3), "weight": (4, 3)}, {}))
    assert shown == [("input", "2×3"), " @ ", ("weight", "4×3"), "ᵀ"]
    assert list(formulas.tokens("{input} ^ {exponent}", {"input": ()}, {"exponent": "2"})) == [
        ("input", "one number"),
        " ^ ",
        "2",
    ]


def _all_ops():
    for name, module in list(sys.modules.items()):
        if name.startswith("minidl.") and isinstance(module, types.ModuleType):
            yield from (f for f in vars(module).values() if callable(f))


def test_the_page_needs_nothing_else(tmp_path):
    r, _ = recorded(check=True, update=True)
    r.save(tmp_path / "step.html")
    page = (tmp_path / "step.html").read_text(encoding="utf-8")
    assert not re.search(r"""(src|href)=["']?(https?:|//)|@import|fetch\(""", page)
    assert "<title>A &lt;step&gt;</title>" in page and "{{" not in page.replace("}}", "")
    inside = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1]
    data = json.loads(inside)
    assert len(data["steps"]) == 20 and data["title"] == "A <step>"
    assert r._repr_html_().startswith('<iframe srcdoc="&lt;!doctype html&gt;')


def test_a_hostile_title_and_source_do_not_leave_the_script():
    x = minidl.ones(2, requires_grad=True)
    with record(title="</script><b>") as r:
        (x * 1).sum()  # </script><script>alert(1)</script>
    assert r.html().count("</script>") == 2


def test_what_a_source_quotes_does_not_swallow_the_page():
    x = minidl.ones(2, requires_grad=True)
    with record(title="<!--<script>") as r:
        (x * 1).sum()  # a comment that hides the end of the script: <!--<script>
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', r.html(), re.S)[1]
    assert "<" not in data and json.loads(data)["steps"][0]["row"] >= 0
    assert any("<!--<script>" in row["site"]["text"] for row in json.loads(data)["rows"] if row["site"])


def test_a_page_of_nan_and_of_numbers_whose_sum_overflows():
    conv = nn.Conv2d(1, 2, 2)
    with minidl.no_grad():
        conv.bias[0] = float("nan")
    x = minidl.full((4,), 1.7e308, dtype=minidl.float64, requires_grad=True)
    with record(check=True) as r:
        conv(minidl.ones(1, 1, 3, 3)).sum().backward()
        (x * 1.0).relu().max().backward()
    inside = re.search(r'id="data">(.*?)</script>', r.html(), re.S)[1]
    bias = next(row["convolution"]["bias"] for row in json.loads(inside)["rows"] if row["convolution"])
    assert np.isnan(np.frombuffer(base64.b64decode(bias), "<f4")).tolist() == [True, False]
    found = next(v for v in r.values if v["dtype"] == "float64" and v["shape"] == [4])
    assert found["mean"] == pytest.approx(1.7e308) and found["strip"] == [7] * 4
    assert "not judged: there is a NaN or an infinity" in {p.check for s in r.steps for p in s.products}


class Odd(minidl.autograd.Function):
    @staticmethod
    def forward(ctx, x, power):
        ctx.save_for_backward(x)
        return x.exp() + x * power

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * x.exp(), None  # forgets a part


class Both(minidl.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2, x * 3

    @staticmethod
    def backward(ctx, g, h):
        return g * 2 + h * 3


def test_a_function_is_one_step_forward_too_and_is_judged():
    x = minidl.tensor([1.0, 2.0], requires_grad=True)
    with record(check=True) as r:
        y = Double.apply(x) * 1  # called here
        z = Odd.apply(y, 3)
        a, b = Both.apply(z)
        (a * b).sum().backward()
    forward = [r.rows[s.row].op for s in r.steps if s.phase == "forward"]
    assert forward == ["Double", "mul", "Odd", "Both", "mul", "sum"]
    first = r.steps[0]
    assert [name for name, _ in first.values] == ["input 0"] and r.rows[first.row].site["text"].endswith("# called here")
    assert r.values[first.out]["numbers"] == ["2", "4"] and r.rows[r.steps[2].row].options == {"input 1": "3"}
    checks = {r.rows[s.row].op: s.products[0].check for s in r.steps if s.phase == "backward"}
    assert checks["Double"] == "right" and checks["Odd"].startswith("wrong: the rule says")
    assert checks["Both"] == "not judged: it has 2 outputs"
    with minidl.no_grad(), record() as r:
        (Both.apply(x)[1] + 1).sum()
    assert [r.rows[s.row].op for s in r.steps] == ["Both", "add", "sum"]
    assert r.rows[r.steps[1].row].inputs[0][1] == r.steps[0].row


def test_what_is_assigned_and_what_is_updated_by_hand_are_steps():
    w, x = minidl.ones(3, requires_grad=True), minidl.ones(2, 3)
    with record(check=True) as r:
        nn.Linear(2, 2)  # its first numbers are no update
        y = x * w
        y[0] = 0  # one number
        y[:, 1] = w[:2] * 5  # through a view
        y.view(6).add_(1)
        y.sum().backward()
        with minidl.no_grad():
            w -= 0.5 * w.grad  # by hand
            w.grad = None
    assert w.tolist() == [-2.0, -1.5, 0.5]
    told = [(s.phase, r.rows[s.row].op, [name for name, _ in s.values]) for s in r.steps if s.phase != "backward"]
    assert told == [
        ("forward", "mul", ["input", "other"]),
        ("forward", "put", ["input"]),
        ("forward", "getitem", ["input"]),
        ("forward", "mul", ["input"]),
        ("forward", "put", ["input", "values"]),
        ("forward", "reshape", ["input"]),
        ("forward", "add", ["input"]),
        ("forward", "placed", ["input", "part"]),
        ("forward", "sum", ["input"]),
        ("update", "", ["before", "grad", "change"]),
    ]
    put = r.steps[1]
    assert r.rows[put.row].options["values"] == "0" and r.rows[put.row].site["text"].endswith("# one number")
    assert (r.values[put.values[0][1]]["numbers"], r.values[put.out]["numbers"]) == (["1"] * 6, ["0"] * 3 + ["1"] * 3)
    judged = {(r.rows[s.row].op, p.input): p.check for s in r.steps for p in s.products}
    assert judged["put", "input"] == judged["put", "values"] == "right"
    assert "out = input[2×3] with 0 at a part of it" in r.text(1) and "changed by hand" in r.text(len(r.steps) - 1)
    assert "by hand" in str(r) and "put" in r.html()


@pytest.mark.parametrize("view", [minidl.inspect.graph, minidl.inspect.print_tree])
def test_only_tensors_are_drawn(view):
    with pytest.raises(TypeError, match=f"{view.__name__}: takes a Tensor, got Linear"):
        view(nn.Linear(1, 1))


def test_a_function_in_words_and_in_a_summary():
    x = minidl.ones(4, requires_grad=True)
    y = Odd.apply(x * 1, 2)
    said = str(minidl.inspect.explain(y))
    assert "Its gradient goes to mul; 2 steps back in all, to the leaves x." in said
    assert "16 bytes are remembered" in said
    y.sum().backward()
    assert "what it remembered is freed" in minidl.inspect.explain(y)

    class Layer(nn.Module):
        def forward(self, x):
            return Odd.apply(x * 1, 2)

    assert minidl.inspect.summary(Layer(), x).remembered == 16


def test_one_recording_is_not_entered_inside_itself():
    with record() as r:
        with pytest.raises(RuntimeError, match=r"record: this one is at work already; .* with record\(\)"), r:
            pass
        minidl.ones(2) + 1
        with record() as inner:
            minidl.ones(2) * 2
    assert len(r.steps) == 2 and len(inner.steps) == 1 and mode.watcher is None


def test_show(monkeypatch, tmp_path):
    opened, shown = [], []
    r, _ = recorded()
    monkeypatch.setattr(player.webbrowser, "open", opened.append)
    monkeypatch.setattr(player.tempfile, "mkdtemp", lambda prefix: str(tmp_path))
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    r.show()
    assert opened == [(tmp_path / "step.html").as_uri()]
    notebook = types.SimpleNamespace(get_ipython=lambda: object(), display=types.SimpleNamespace(display=shown.append))
    monkeypatch.setitem(sys.modules, "IPython", notebook)
    r.show(height=300)
    assert len(opened) == 1 and "height:300px" in shown[0]._repr_html_()


def test_the_terminal(monkeypatch, capsys):
    r, _ = recorded(check=True, update=True)
    listed = str(r).splitlines()
    assert [line for line in listed if not line.startswith(" ")] == ["forward", "backward", "update"]
    assert "model.conv: conv2d" in listed[1] and "test_inspect.py:" in listed[1]
    card = r.text(8)
    assert "∂L/∂weight = g[2×4]ᵀ @ input[2×12]" in card and "✓ finite differences: right" in card
    assert "goes to      model.head.weight" in card
    said = iter(["", "b", "99", "l", "x", "q"])
    monkeypatch.setattr(builtins, "input", lambda prompt: next(said))
    r.play()
    out = capsys.readouterr().out
    assert re.findall(r"^\[(\d+)/20\]", out, re.M) == ["1", "2", "1", "20", "20", "20"]


# -- drawings and words


def test_graph(tmp_path):
    w, b = minidl.ones(3, 2, requires_grad=True), minidl.zeros(2, requires_grad=True)
    x = minidl.ones(4, 3)
    loss = ((x @ w + b) ** 2).mean() + (w * w).sum()
    drawn = graph(loss)
    root = ET.fromstring(str(drawn))
    texts = [t.text for t in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts.count("w") == 1 and texts.count("b") == 1 and texts.count("add") == 2 and "(4, 2)" in texts
    boxes = [r for r in root.iter("{http://www.w3.org/2000/svg}rect")][1:]
    assert len(boxes) == 2 + 7 and f"{len(boxes)} boxes" in repr(drawn)
    sides = [[float(r.get(a)) for a in ("x", "y", "width", "height")] for r in boxes]
    for i, (x1, y1, w1, h1) in enumerate(sides):
        assert x1 >= 0 and x1 + w1 <= float(root.get("width")) and y1 + h1 <= float(root.get("height"))
        for x2, y2, w2, h2 in sides[:i]:  # none lies on another
            assert x1 + w1 <= x2 or x2 + w2 <= x1 or y1 + h1 <= y2 or y2 + h2 <= y1
    edges = [p for p in root.iter("{http://www.w3.org/2000/svg}path") if p.get("marker-end")]
    assert len(edges) == 10
    drawn.save(tmp_path / "graph.svg")
    assert (tmp_path / "graph.svg").read_text(encoding="utf-8") == drawn._repr_svg_()
    model = nn.Linear(2, 1)
    assert ">weight<" in graph(model(minidl.ones(1, 2)), dict(model.named_parameters())).svg
    assert ">model.bias<" in graph(model(minidl.ones(1, 2))).svg
    with pytest.raises(RuntimeError, match="graph: the tensor has no history"):
        graph(minidl.ones(2))
    with pytest.raises(TypeError, match="params must be a Module, a dict"):
        graph(loss, 3)


def test_a_leaf_alone_a_long_chain_and_a_function():
    x = minidl.ones(2, requires_grad=True)
    assert "1 boxes" in repr(graph(x))
    y = x
    for _ in range(3000):
        y = y + 1
    assert "3001 boxes" in repr(graph(y))
    assert ">Double<" in graph(Double.apply(x)).svg


def test_print_tree(capsys):
    w, b = minidl.ones(3, requires_grad=True), minidl.zeros(3, requires_grad=True)
    h = (w * 2).exp()
    print_tree((h * h + b).sum() + h.sum())
    assert capsys.readouterr().out == (
        "add ()\n├─ sum ()\n│  exp (3,)\n│  mul (3,)\n│  └─ w (3,)\nsum ()\nadd (3,)\n├─ b (3,)\nmul (3,)\n"
        "├─ exp (3,) (above)\nexp (3,) (above)\n"
    )
    with pytest.raises(RuntimeError, match="print_tree: the tensor has no history"):
        print_tree(minidl.ones(2))


def test_explain():
    w = minidl.tensor([1.0, 2.0, minidl.nan], requires_grad=True)
    y = (w * w)[:2]
    y += 1
    said = repr(explain(y))
    assert "shape (2,) and float32: from 2 to 5, mean 3.5" in said and "Made by" in said and "test_inspect.py" in said
    assert "to the leaves w." in said and "retain_grad() is called first" in said and "changed in place once" in said
    assert "A view: it looks at the memory of one of shape (3,)" in said
    y.sum().backward()
    assert "is freed" in explain(y) and "has one: from 2 to 4, mean 3, 1 NaN" in explain(w) and "1 NaN" in explain(w)
    assert "wants no gradient" in explain(minidl.ones(2, 3).T) and "batch innermost" in explain(minidl.ones(2, 3).T)
    y = w * 1
    y.retain_grad()
    assert "kept in .grad" in explain(y)
    with pytest.raises(TypeError, match="explain: takes a Tensor, got list"):
        explain([1])


def test_summary_counts_what_a_hand_counts():
    model = Net()
    mean, state = model.norm.running_mean.clone(), minidl.get_rng_state()
    s = summary(model, (2, 2, 4, 4))
    assert [(layer.name, layer.type, layer.depth, layer.output) for layer in s.layers] == [
        ("model", "Net", 0, "(2, 4)"),
        ("conv", "Conv2d", 1, "(2, 3, 4, 4)"),
        ("norm", "BatchNorm2d", 1, "(2, 3, 4, 4)"),
        ("body", "Sequential", 1, "(2, 12)"),
        ("0", "ReLU", 2, "(2, 3, 4, 4)"),
        ("1", "MaxPool2d", 2, "(2, 3, 2, 2)"),
        ("2", "Flatten", 2, "(2, 12)"),
        ("head", "Linear", 1, "(2, 4)"),
    ]
    weights = 3 * 18 + 3 + 3 + 3 + 12 * 4 + 4
    assert (s.parameters, s.trainable, s.trainable_bytes) == (weights, weights, 4 * weights)
    assert s.parameter_bytes == 4 * weights + 4 * (3 + 3) + 8  # running mean, variance, and the count of batches
    assert [layer.parameters for layer in s.layers] == [weights, 57, 6, 0, 0, 0, 0, 52]
    assert s.layers[1].flops == 96 * (2 * 18 + 1) and s.layers[-1].flops == 8 * (2 * 12 + 1)
    assert s.layers[0].flops == s.flops == sum(s.layers[i].flops for i in (1, 2, 3, 7))
    # the picture; what comes of convolution (norm's center and variance with it) and of relu; taps; the flattened
    assert s.remembered >= 4 * (64 + 96 + 96 + 24)
    assert (model.norm.running_mean == mean).all() and (minidl.get_rng_state() == state).all()
    text = repr(s)
    assert f"{weights} parameters" in text and "  head: Linear" in text and "MFLOP forward" in text


def test_summary_of_shared_frozen_and_several_inputs():
    shared = nn.Linear(3, 3)
    model = nn.Sequential(shared, shared)
    shared.bias.requires_grad_(False)
    s = summary(model, minidl.ones(2, 3))
    assert (s.parameters, s.trainable) == (12, 9) and [layer.parameters for layer in s.layers] == [12, 12, 0]

    class Two(nn.Module):
        def forward(self, a, b):
            return a + b, {"product": a * b}

    s = summary(Two(), (minidl.ones(2), minidl.ones(2)))
    assert s.layers[0].output == "(2,), (2,)" and s.flops == 4 and s.remembered == 0
    for wrong in ("x", (), ("a",)):
        with pytest.raises(TypeError, match="summary: input must be a Tensor, a tuple of them, or a shape"):
            summary(model, wrong)


def test_nothing_is_paid_when_nobody_looks():
    """The same look at one variable as before: no watcher is left behind, and tensors and nodes have no new fields."""
    recorded(check=True, update=True)
    assert mode.watcher is None
    x = minidl.ones(2, requires_grad=True) * 2
    assert set(x._node.__slots__) == {"guards", "kept", "op"} and set(vars(x)) <= {"_array", "_node"}
    assert isinstance(x, TensorBase)

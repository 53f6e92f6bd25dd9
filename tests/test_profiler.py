"""The profiler: what it counts is what a hand counts, and watching changes nothing."""

import json
import os
import threading
import time

import numpy as np
import pytest

import minidl
from minidl import nn, optim
from minidl.autograd.mode import mode
from minidl.nn import functional as F
from minidl.profiler import profile


def counted(p, by="op"):
    """``{(name, phase): (calls, flops, bytes)}``."""
    return {(r.name, r.phase): (r.calls, r.flops, r.bytes) for r in p.key_averages(by)}


def tensor(*shape, seed=0, requires_grad=True):
    return minidl.tensor(np.random.default_rng(seed).standard_normal(shape, np.float32), requires_grad=requires_grad)


class Net(nn.Module):
    """3 pictures (2, 8, 8) -> 4 filters of (2, 3, 3) -> 4 x 4 pixels -> 5 classes."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(64, 5))

    def forward(self, x):
        return self.head(F.max_pool2d(F.relu(self.norm(self.conv(x))), 2))


X, Y = tensor(3, 2, 8, 8, requires_grad=False), minidl.tensor([0, 1, 4])


def a_step(net, p=None):
    loss = F.cross_entropy(net(X), Y)
    loss.backward()
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    if p is not None:
        optimizer.step()
    return loss


def test_a_training_step_counted_by_hand():
    net = Net()
    start = time.perf_counter()
    with profile() as p:
        a_step(net, p)
    wall = time.perf_counter() - start
    maps, pooled, rows, parameters = 3 * 4 * 8 * 8, 3 * 4 * 4 * 4, 3 * 5, 4 * 18 + 4 + 4 + 4 + 5 * 64 + 5
    conv_bytes = 4 * (3 * 2 * 64 + 4 * 18 + 4 + maps)
    assert counted(p) == {
        ("add", "forward"): (1, 1, 2 * 8),  # the batches that BatchNorm2d has seen
        ("conv2d", "forward"): (1, maps * (2 * 18 + 1), conv_bytes),
        ("normalise", "forward"): (1, 7 * maps, 4 * (2 * maps + 4 * 4)),
        ("relu", "forward"): (1, maps, 4 * 2 * maps),
        ("max_pool2d", "forward"): (1, maps, 4 * (maps + pooled)),
        ("reshape", "forward"): (1, 0, 0),
        ("linear", "forward"): (1, rows * (2 * 64 + 1), 4 * (3 * 64 + 5 * 64 + 5 + rows)),
        ("cross_entropy", "forward"): (1, 5 * rows + 3 * 3, 4 * rows + 8 * 3 + 4),
        ("cross_entropy", "backward"): (1, 7 * rows + 3, 4 * (1 + 3 + 2 * rows) + 8 * 3),
        # g with the weight to the input, g with the input to the weight and the bias
        ("linear", "backward"): (1, 2 * 2 * rows * 64 + rows, 4 * (2 * rows + 2 * (3 * 64) + 2 * (5 * 64) + 5)),
        ("reshape", "backward"): (1, 0, 0),
        ("max_pool2d", "backward"): (1, 5 * pooled, 4 * (pooled + maps + pooled + maps)),
        ("relu", "backward"): (1, maps, 4 * 3 * maps),
        ("normalise", "backward"): (1, 10 * maps, 4 * (3 * maps + 5 * 4)),
        # the pictures want no gradient
        ("conv2d", "backward"): (1, maps * 2 * 18 + maps, 4 * (maps + 3 * 2 * 64 + 4 * 18 + 4)),
        ("SGD.step", "optimiser"): (1, 2 * parameters, 4 * 3 * parameters),
    }
    assert (
        0 < sum(r.seconds for r in p.key_averages()) <= sum(r.seconds for r in p.key_averages("module")) <= p.total_time <= wall
    )
    for by in ("module", "phase"):
        for what in ("flops", "bytes"):
            assert sum(getattr(r, what) for r in p.key_averages(by)) == sum(getattr(r, what) for r in p.key_averages())
    assert [(r.phase, r.calls) for r in p.key_averages("phase")] == [("forward", 8), ("backward", 7), ("optimiser", 1)]


def test_by_module():
    with profile() as p:
        a_step(Net(), p)
    found = {(r.name, r.phase): r for r in p.key_averages("module")}
    assert {key: r.calls for key, r in found.items()} == {
        ("Net", "forward"): 1,
        ("Net.conv", "forward"): 1,
        ("Net.norm", "forward"): 1,
        ("Net.head", "forward"): 1,
        ("Net.head.0", "forward"): 1,
        ("Net.head.1", "forward"): 1,
        ("(no module)", "forward"): 1,  # the loss
        ("(no module)", "backward"): 1,
        ("Net.head.1", "backward"): 1,
        ("Net.head.0", "backward"): 1,
        ("Net.head", "backward"): 0,
        ("Net", "backward"): 2,  # pooling and ReLU
        ("Net.norm", "backward"): 1,
        ("Net.conv", "backward"): 1,
        ("(no module)", "optimiser"): 1,
    }
    for phase in ("forward", "backward"):
        inside = [r for (name, its), r in found.items() if its == phase and name.startswith("Net")]
        assert found["Net", phase].total_seconds == pytest.approx(sum(r.seconds for r in inside))
        head = [found[name, phase].seconds for name in ("Net.head", "Net.head.0", "Net.head.1")]
        assert found["Net.head", phase].total_seconds == pytest.approx(sum(head))
    assert found["Net.conv", "backward"].flops == 3 * 4 * 64 * 37
    assert found["Net.head", "forward"].flops == 0


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.again = self.first
        self.parts = nn.ModuleList([nn.Linear(4, 4), nn.ReLU()])
        self.hidden = [nn.Linear(4, 4)]

    def forward(self, x):
        x = self.again(self.first(x))
        for part in self.parts:
            x = part(x)
        return self.hidden[0](x)


def test_paths_of_modules():
    with profile() as p:
        nn.Sequential(Shared(), nn.Identity())(tensor(2, 4)).sum().backward()
    found = counted(p, "module")
    one = 8 * 9  # of (2, 4) by (4, 4) and the bias
    assert found["Sequential.0.first", "forward"][:2] == (2, 2 * one)
    assert found["Sequential.0.first", "backward"][:2] == (2, 2 * (8 * 16 + 8))
    assert found["Sequential.0.parts.0", "forward"][:2] == (1, one)
    assert found["Sequential.0.parts.1", "backward"][:2] == (1, 8)
    assert found["Sequential.0.Linear", "forward"][:2] == (1, one)  # registered nowhere
    assert ("Sequential.1", "forward") in found and ("Sequential.0.again", "forward") not in found


FORMULAS = {
    "matmul": (lambda a, b: a @ b, [(2, 3, 4), (4, 5)], 2 * 2 * 3 * 4 * 5, 2),
    "linear": (F.linear, [(2, 3), (5, 3)], 2 * 2 * 3 * 5, 2),
    "einsum": (lambda a, b: minidl.einsum("bij,bjk->bik", a, b), [(2, 3, 4), (2, 4, 5)], 2 * 2 * 3 * 4 * 5, 2),
    "conv2d": (lambda x, w: F.conv2d(x, w, stride=2, groups=2), [(2, 4, 7, 5), (6, 2, 3, 3)], 2 * (2 * 6 * 3 * 2) * (2 * 9), 2),
    "sum_pool2d": (lambda x: F.avg_pool2d(x, 3, 2), [(2, 3, 7, 7)], 2 * 3 * 9 * 9, 1),
    "softmax": (lambda x: F.softmax(x, 1), [(2, 7)], 5 * 14, 4 / 5),
    "sum": (lambda x: x.sum(0), [(2, 7)], 14, 0),  # the gradient is expanded: a view
    "mul": (lambda a, b: a * b, [(2, 7), (7,)], 14, 2),
    "sub": (lambda a, b: a - b, [(2, 7), (2, 7)], 14, 1),  # one gradient is g itself
    "permute": (lambda x: x.permute(1, 0), [(2, 7)], 0, 0),
    "cat": (lambda a, b: minidl.cat([a, b]), [(2, 7), (1, 7)], 0, 0),
    "flip": (lambda x: x.flip(0), [(2, 7)], 0, 0),
    "getitem": (lambda x: x[[0, 0, 1]], [(2, 7)], 0, None),
    "exp": (minidl.exp, [(2, 7)], 14, 1),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_flops(name):
    """Forward, and how many times that the rules cost, if they cost by their nature."""
    f, shapes, forward, ratio = FORMULAS[name]
    inputs = [tensor(*shape, seed=i) for i, shape in enumerate(shapes)]
    with profile() as p:
        out = f(*inputs)
        out.backward(tensor(*out.shape, seed=9, requires_grad=False))
    found = counted(p)
    assert found[name, "forward"][1] == forward
    assert found[name, "backward"][1] == (14 if ratio is None else forward * ratio)


def test_gradients_of_gradients_cost_what_the_products_cost():
    """Each of conv2d's rules is a convolution as dear as the first; in a recorded sweep their ops count, not they."""
    x, w = tensor(2, 3, 6, 6), tensor(4, 3, 3, 3, seed=1)
    cost = 2 * (2 * 4 * 4 * 4) * 27
    with profile() as p:
        out = F.conv2d(x, w)
        gx, gw = minidl.autograd.grad(out, (x, w), tensor(*out.shape, seed=2), create_graph=True)
        once = counted(p)
        minidl.autograd.grad((gx, gw), (x, w), (tensor(*x.shape, seed=3), tensor(*w.shape, seed=4)))
    assert once["conv2d", "forward"][:2] == (1, cost)
    assert once["conv2d", "backward"] == (1, 0, 0)
    assert once["conv2d_input_grad", "backward"][:2] == once["conv2d_weight_grad", "backward"][:2] == (1, cost)
    twice = counted(p)
    assert twice["conv2d_input_grad", "backward"][:2] == (2, 2 * cost)  # and its rule for the weight
    assert twice["conv2d_weight_grad", "backward"][:2] == (2, 2 * cost)
    record = next(r for r in p.key_averages() if (r.name, r.phase) == ("conv2d", "backward"))
    parts = sum(r.seconds for r in p.key_averages() if r.name in ("conv2d_input_grad", "conv2d_weight_grad"))
    assert record.seconds < record.total_seconds < record.seconds + parts  # what its rules called once


def test_a_recorded_sweep_belongs_to_its_module():
    net, x = nn.Sequential(nn.Linear(3, 3), nn.Tanh()), tensor(2, 3)
    with profile() as p:
        (g,) = minidl.autograd.grad(net(x).sum(), x, create_graph=True)
        first = counted(p, "module")["Sequential.0", "backward"]
        (g * g).sum().backward()
    assert counted(p, "module")["Sequential.0", "backward"][1] > first[1] > 0


def test_ops_in_a_function_count_once():
    class Cube(minidl.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx, g):
            return g * (3 * ctx.saved_tensors[0] ** 2)

    with profile() as p:
        Cube.apply(tensor(5)).backward(tensor(5, seed=1))
    found = counted(p)
    assert found["pow", "forward"][:2] == (1, 5)
    assert found["Cube", "backward"] == (1, 0, 0)
    assert found["mul", "backward"][:2] == (2, 10)


def test_others_of_the_same_name_have_other_formulas():
    @minidl.autograd.differentiable
    def conv2d(input):
        return input * 3

    conv2d.vjp(input=lambda g: g * 3)

    class SGD(optim.Optimizer):
        def update(self, param, grad, state, group):
            raise AssertionError

    x = tensor(5)
    with profile() as p:
        conv2d(x).sum().backward()
        p.optimizer(SGD([x], {}), lambda: None)
    found = counted(p)
    assert found["conv2d", "forward"] == (1, 5, 4 * 10)
    assert found["conv2d", "backward"] == (1, 5, 4 * (1 + 5))  # of g, which is expanded
    assert found["SGD.step", "optimiser"] == (1, 5, 4 * 15)


def test_views_move_nothing():
    x = tensor(4, 6)
    with profile() as p:
        x.reshape(6, 4).T[1:].unsqueeze(0).expand(5, 3, 6)
    assert all((r.flops, r.bytes) == (0, 0) for r in p.key_averages())
    with profile() as p:
        x.T.reshape(24)  # has to copy
    assert counted(p)["reshape", "forward"] == (1, 0, 2 * 4 * 24)
    with profile() as p:
        x + minidl.ones(1, 6).expand(4, 6)  # what is expanded is read once
    assert counted(p)["add", "forward"] == (1, 24, 4 * (24 + 6 + 24))


@pytest.mark.parametrize(
    "make, each",
    [
        (lambda params: optim.SGD(params, lr=0.1), 2),
        (lambda params: optim.SGD(params, lr=0.1, momentum=0.9, weight_decay=0.1, nesterov=True), 8),
        (lambda params: optim.Adam(params), 13),
    ],
)
def test_optimisers(make, each):
    params = [tensor(2, 3), tensor(5), tensor(7)]
    for param in params[:2]:
        param.grad = minidl.ones_like(param)
    optimizer = make(params)
    optimizer.step()
    state = sum(value._array.nbytes for kept in optimizer.state.values() for value in kept.values())
    with profile() as p:
        assert p.optimizer(optimizer, lambda: 3) == 3
    name = f"{type(optimizer).__name__}.step"
    assert counted(p) == {(name, "optimiser"): (1, 11 * each, 4 * 3 * 11 + 2 * state)}


def test_watching_changes_nothing():
    minidl.manual_seed(1)
    net = Net()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    plain = a_step(net)
    grads = [param.grad.clone() for param in net.parameters()]
    net.load_state_dict(before)
    net.zero_grad()
    assert mode.watcher is None
    with profile() as p:
        assert mode.watcher is p
        watched = a_step(net)
    assert mode.watcher is None
    assert watched.item() == plain.item()
    assert all(minidl.equal(param.grad, g) for param, g in zip(net.parameters(), grads))


def test_nested_and_again():
    x = tensor(3)
    with profile() as outer:
        x + x
        with profile() as inner, outer, inner:  # the same ones once more
            x * x
        assert mode.watcher is outer
        x + x
    assert mode.watcher is None
    assert {key: calls for key, (calls, _, _) in counted(outer).items()} == {("add", "forward"): 2, ("mul", "forward"): 1}
    assert {key: calls for key, (calls, _, _) in counted(inner).items()} == {("mul", "forward"): 1}
    before = inner.total_time
    with inner:
        x * x
    assert counted(inner)["mul", "forward"] == (2, 6, 2 * 36) and inner.total_time > before
    time.sleep(0.01)
    assert inner.total_time < before + 0.01


def test_errors_leave_the_state_as_it_was():
    class Broken(nn.Module):
        def forward(self, x):
            return nn.Identity()(x) @ minidl.ones(5, 5)

    with profile() as p:
        with pytest.raises(minidl.ShapeError), profile():
            Broken()(tensor(2, 3))
        assert mode.watcher is p
        with pytest.raises(RuntimeError, match="oh"):
            p.optimizer(optim.SGD([tensor(2)], lr=1), lambda: (_ for _ in ()).throw(RuntimeError("oh")))
        y = tensor(3)
        z = minidl.exp(y)
        z.sum().backward()
        with pytest.raises(RuntimeError, match="already swept"):
            z.sum().backward()
        y * y
    assert mode.watcher is None
    found = counted(p)
    assert found["matmul", "forward"] == (1, 0, 0)
    assert found["mul", "forward"] == (1, 3, 36)
    assert counted(p, "module")["(no module)", "forward"][0] == 4  # exp, sum, sum, mul: no module is left open


def test_other_threads_are_not_seen():
    with profile() as p:
        thread = threading.Thread(target=lambda: tensor(3) * 2)
        thread.start()
        thread.join()
    assert p.key_averages() == []
    assert len(str(p).splitlines()) == 2


def test_table():
    with profile() as p:
        a_step(Net(), p)
    assert str(p) == p.table() and "conv2d" in str(p)
    for sort_by, what, sign in (
        ("time", "seconds", -1),
        ("calls", "calls", -1),
        ("bytes", "bytes", -1),
        ("flops", "flops", -1),
    ):
        order = [line.split()[:2] for line in p.table(sort_by=sort_by).splitlines()[1:-1]]
        value = {(r.name, r.phase): getattr(r, what) for r in p.key_averages()}
        assert [value[tuple(words)] for words in order] == sorted(value.values(), key=lambda v: sign * v)
    names = [line.split()[0] for line in p.table(sort_by="name").splitlines()[1:-1]]
    assert names == sorted(names)
    short = p.table("module", "flops", 1).splitlines()
    assert len(short) == 3 and short[1].startswith("Net.conv") and short[2].endswith("14 lines not shown")
    assert p.table(row_limit=-1) == p.table()
    with pytest.raises(ValueError, match="sort_by"):
        p.table(sort_by="cuda_time_total")
    with pytest.raises(ValueError, match="by must be"):
        p.table(by="input_shape")


def test_chrome_trace(tmp_path):
    with profile() as p:
        a_step(Net(), p)
    p.export_chrome_trace(tmp_path / "trace.json")
    assert os.listdir(tmp_path) == ["trace.json"]
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert {"Net", "Net.head.1", "conv2d", "SGD.step"} <= {e["name"] for e in events}
    assert all(e["ph"] == "X" and e["ts"] >= 0 and e["dur"] >= 0 for e in events)
    assert len([e for e in events if (e["name"], e["cat"]) == ("conv2d", "backward")]) == 2  # of the weight and the bias
    net = next(e for e in events if e["name"] == "Net")
    inside = [e for e in events if e["cat"] == "forward" and e["args"]["module"].startswith("Net")]
    assert len(inside) == 13
    assert all(net["ts"] <= e["ts"] and e["ts"] + e["dur"] <= net["ts"] + net["dur"] + 1e-3 for e in inside)
    with pytest.raises(FileNotFoundError, match="export_chrome_trace"):
        p.export_chrome_trace(tmp_path / "nowhere" / "trace.json")


def test_two_profiles_may_be_left_in_any_order():
    first, second = profile(), profile()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert mode.watcher is second
    tensor(2) + 1
    second.__exit__(None, None, None)
    assert mode.watcher is None
    assert not first.key_averages() and counted(second) == {("add", "forward"): (1, 2, 16)}


def test_memory_report():
    """Against what can be counted by hand; nothing is changed by it."""
    net = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Sigmoid())
    x = minidl.randn(10, 8)
    mean = net[1].running_mean.tolist()
    report = minidl.profiler.memory_report(net, x, optimizer=minidl.optim.SGD(net.parameters(), lr=0.1))
    floats = 8 * 16 + 16 + 2 * 16
    assert report["parameters"] == 4 * (floats + 2 * 16) + 8 and report["gradients"] == 4 * floats and report["optimizer"] == 0
    at_least = 4 * (10 * 8 + 2 * 10 * 16)  # the inputs of linear and normalisation, the output of sigmoid
    assert at_least <= report["activations"] <= at_least + 4 * (2 * 16 + 10 * 16)
    assert net[1].running_mean.tolist() == mean and net[1].num_batches_tracked.item() == 0 and net[0].weight.grad is None
    adam = minidl.optim.Adam(net.parameters(), amsgrad=True)
    assert minidl.profiler.memory_report(net, x, optimizer=adam)["optimizer"] == 3 * 4 * floats
    saved = minidl.profiler.memory_report(Saving(net), x)
    assert saved["activations"] < report["activations"]


class Saving(nn.Module):
    """A network as a checkpoint."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return minidl.utils.checkpoint.checkpoint(self.net, x)

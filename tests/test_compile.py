"""`minidl.compile`: what is compiled computes what is written, and what cannot be compiled says so and runs as written."""

import copy
import gc
import pickle
import sys
import threading
import tracemalloc
import warnings
import weakref
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minidl
from minidl import nn
from minidl.compiler import CompileWarning, explain
from minidl.kernels import cpu, threads
from minidl.nn import functional as F


@pytest.fixture
def several_threads(monkeypatch):
    """Even the smallest work is worth a thread."""
    before = minidl.get_num_threads()
    monkeypatch.setattr(threads, "WORTH_A_THREAD", 1)
    yield
    minidl.set_num_threads(before)


def cnn():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3), nn.MaxPool2d(2), nn.ReLU(),
        nn.Flatten(), nn.Linear(24, 8), nn.ReLU(), nn.Linear(8, 3),
    )  # fmt: skip


def mlp():
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3))


def normed():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3), nn.BatchNorm1d(3))


def dropping():
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Dropout(0.4), nn.Linear(8, 3))


NETS = {"cnn": (cnn, (3, 12, 12)), "mlp": (mlp, (5,)), "normed": (normed, (3, 6, 6)), "dropping": (dropping, (5,))}
OPTIMIZERS = {
    "sgd": lambda params: minidl.optim.SGD(params, lr=0.05, momentum=0.9, weight_decay=0.01),
    "adam": lambda params: minidl.optim.Adam(params, lr=0.01),
}


def batch(shape, seed, n=4, dtype=np.float32):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, *shape)).astype(dtype)
    return minidl.from_numpy(x), minidl.from_numpy(rng.integers(0, 3, n))


def close(a, b, tolerance=2e-5):
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=tolerance, atol=tolerance)


def same_state(a, b):
    """Two modules, or state dicts, have the same numbers."""
    a, b = (x.state_dict() if isinstance(x, nn.Module) else x for x in (a, b))
    for (_, p), (_, q) in zip(a.items(), b.items(), strict=True):
        close(p, q)


def is_compiled(call):
    return "became" in explain(call) and "as it is written" not in explain(call)


# -- modules


@pytest.mark.parametrize("name", NETS)
def test_training_through_a_compiled_module_is_training(name):
    make, shape = NETS[name]
    eager = make()
    net = copy.deepcopy(eager)
    fast = minidl.compile(net)
    optimizers = [OPTIMIZERS["sgd"](m.parameters()) for m in (eager, net)]
    for step in range(6):
        x, y = batch(shape, step)
        losses = []
        for module, optimizer in zip((eager, fast), optimizers):
            minidl.manual_seed(step)
            losses.append(F.cross_entropy(module(x), y))
            optimizer.zero_grad()
            losses[-1].backward()
            optimizer.step()
        close(*losses)
        for p, q in zip(eager.parameters(), net.parameters()):
            close(p.grad, q.grad)
    same_state(eager, net)
    assert is_compiled(fast)


def test_what_is_fused():
    fast = minidl.compile(cnn())
    assert fast.explain() == "not compiled yet: it takes two calls"
    for seed in range(3):
        fast(batch((3, 12, 12), seed)[0])
    assert fast.explain() == (
        "program 0: fused: conv2d + relu + max_pool2d; fused: conv2d + max_pool2d + relu; fused: linear + relu; "
        "10 steps became 5"
    )


class Odd(nn.Module):
    """What looks like a block and is none."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        overlapping = F.max_pool2d(F.relu(self.conv(x)), 3, 2)
        with_rest = F.relu(F.max_pool2d(self.conv(x), 3))
        twice = F.relu(F.max_pool2d(F.max_pool2d(self.conv(x), 2), 2))
        again = F.relu(F.relu(self.conv(x)))
        image = F.max_pool2d(F.relu(self.conv(x[0])), 2)
        return overlapping, with_rest, twice, again, image


def test_what_only_looks_like_a_block():
    net = Odd()
    fast = minidl.compile(net)
    for seed in range(3):
        x, _ = batch((3, 10, 10), seed)
        for a, b in zip(fast(x), net(x)):
            assert a.shape == b.shape
            close(a, b)
    assert fast.explain().count("fused: conv2d + relu;") == 2


def test_chains_do_not_broadcast():
    f = minidl.compile(lambda x, b: ((x * 2) + b).exp())
    for seed in range(3):
        rng = np.random.default_rng(seed)
        x, b = (minidl.from_numpy(rng.normal(size=(n, 40_000))) for n in (2, 1))
        close(f(x, b), (x * 2 + b).exp(), 1e-12)
        assert f(b, x).shape == (2, 40_000)


def test_dropout_is_drawn_anew_each_time():
    fast = minidl.compile(nn.Dropout(0.5))
    x = minidl.ones(64)
    outs = [fast(x).tolist() for _ in range(5)]
    assert is_compiled(fast) and len({*map(tuple, outs)}) == 5
    assert fast.eval()(x).tolist() == x.tolist()
    assert fast.train()(x).tolist() != x.tolist()


def test_each_mode_batch_size_and_no_grad_has_its_program():
    eager = normed()
    fast = minidl.compile(copy.deepcopy(eager))
    for step in range(4):
        for n in (2, 5):
            for training in (True, False):
                x, _ = batch((3, 6, 6), 10 * step + n, n)
                close(fast.train(training)(x), eager.train(training)(x))
                with minidl.no_grad():
                    quiet = fast(x)
                    close(quiet, eager(x))
                assert not quiet.requires_grad
    same_state(eager, fast)
    assert fast._orig_mod[1].num_batches_tracked.item() == 16
    assert len(fast._compiled.programs) == 8 and is_compiled(fast)


class Pair(NamedTuple):
    left: object
    right: object


class Many(nn.Module):
    """Takes and gives tensors in all kinds of containers."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(5, 5)

    def forward(self, pair, *, more, scale=2.0, name=None):
        h = F.relu(self.fc(pair.left))
        total = h * scale + more["x"][0]
        return {"h": h, "both": (total, [pair.right, 7, name]), "pair": Pair(total + h, None)}


def test_containers_go_in_and_out():
    net = Many()
    fast = minidl.compile(net)
    for seed in range(4):
        (a, _), (b, _), (c, _) = (batch((5,), 3 * seed + i) for i in range(3))
        for scale in (2.0, -0.0, 0.0):
            got, wanted = (f(Pair(a, b), more={"x": [c]}, scale=scale, name="n") for f in (fast, net))
            assert list(got) == ["h", "both", "pair"] and type(got["pair"]) is Pair
            assert got["both"][1][0] is b and got["both"][1][1:] == [7, "n"] and got["pair"].right is None
            close(got["h"], wanted["h"])
            close(got["both"][0], wanted["both"][0])
            close(got["pair"].left, wanted["pair"].left)
    assert len(fast._compiled.programs) == 3 and is_compiled(fast)


def test_detached_tensors_are_part_of_the_program():
    """Without a history every time, and with the same memory: also for a change in place that comes later."""

    def through_memory(x):
        seen = x.detach()
        y = (x * W).exp().tanh()
        seen.add_(1)
        return y.detach() + x

    for function in (lambda x: x * (x * W).detach(), lambda x: W.detach() * x, through_memory):
        fast = minidl.compile(function)
        for seed in range(4):
            x = minidl.tensor(np.random.default_rng(seed).normal(size=3).astype(np.float32))
            with warnings.catch_warnings():
                warnings.simplefilter("error", CompileWarning)
                got, wanted = fast(x.clone()), function(x.clone())
            close(got, wanted)
            assert got.requires_grad == wanted.requires_grad
        assert is_compiled(fast)


def test_a_chain_does_not_outlive_what_it_reads(monkeypatch):
    """It would need its input again on the way back, after a change through what was detached from it."""
    monkeypatch.setattr(sys.modules["minidl.compiler.rewrite"], "WORTH_A_CHAIN", 1)

    def function(x, change=True):
        seen = x.detach()
        y = (x + W).exp().tanh()
        if change:
            seen.add_(1)
        return y

    for change in (True, False):
        fast = minidl.compile(function)
        for _ in range(3):
            fast(minidl.ones(3), change).sum().backward()
        assert ("add + exp + tanh" in explain(fast)) != change and is_compiled(fast)


def test_what_is_used_twice_is_not_lost_in_a_fused_op():
    net = nn.Linear(5, 5)

    @minidl.compile
    def f(x):
        h = net(x)
        y = F.relu(h)
        return y, h + y

    for seed in range(4):
        x, _ = batch((5,), seed)
        y, both = f(x)
        close(y, F.relu(net(x)))
        close(both, net(x) + y)
    assert "fused" not in explain(f)


def test_a_shared_module_and_an_input_given_back():
    fc = nn.Linear(5, 5)
    net = nn.Sequential(fc, nn.ReLU(), fc, nn.ReLU())
    fast, same = minidl.compile(net), minidl.compile(nn.Identity())
    for seed in range(4):
        x, _ = batch((5,), seed)
        fast(x).sum().backward()
        got, fc.weight.grad = fc.weight.grad, None
        net(x).sum().backward()
        close(got, fc.weight.grad)
        fc.weight.grad = None
        assert same(x) is x


def test_second_order_goes_through_a_compiled_module():
    net = cnn().double()
    fast = minidl.compile(net)
    for seed in range(3):
        x, _ = batch((3, 12, 12), seed, dtype=np.float64)
        results = []
        for f in (fast, net):
            z = x.clone().requires_grad_()
            (g,) = minidl.autograd.grad((f(z) ** 2).sum(), z, create_graph=True)
            results.append(minidl.autograd.grad((g**2).sum(), [z, *net.parameters()], allow_unused=True))
        for a, b in zip(*results):
            assert (a is None) == (b is None)
            if a is not None:
                close(a, b, 1e-10)


def test_an_optimized_module_is_the_module():
    net = mlp()
    fast = minidl.compile(net)
    assert list(fast.state_dict()) == [f"_orig_mod.{name}" for name in net.state_dict()]
    assert [*fast.parameters()] == [*net.parameters()]
    assert fast._orig_mod is net and fast.training
    fast.eval()
    assert not net.training and not net[0].training
    net.factor = 3.0
    assert fast.factor == 3.0
    fast.factor = 4.0
    assert net.factor == 4.0
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        _ = fast.nothing_of_the_kind
    with pytest.raises(AttributeError, match="compile the other"):
        fast._orig_mod = mlp()
    frozen = minidl.compile(mlp().eval())
    assert not frozen.training


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"])
def test_a_copy_has_its_own_numbers_and_learns_its_own_programs(copied):
    fast = minidl.compile(mlp())
    for seed in range(3):
        fast(batch((5,), seed)[0])
    other = copied(fast)
    assert is_compiled(fast) and "not compiled yet" in other.explain()
    with minidl.no_grad():
        other._orig_mod[0].weight.zero_()
    for seed in range(3):
        x, _ = batch((5,), seed)
        close(other(x), other._orig_mod(x))
        close(fast(x), fast._orig_mod(x))
    assert is_compiled(other) and fast._orig_mod[0].weight.abs().sum().item() > 0


# -- what is changed after a program was made


def changes(net):
    """What people do to a module, one after the other."""

    def replace_layer():
        net[0] = nn.Linear(5, 8)

    def replace_parameter():
        net[0].weight = nn.Parameter(minidl.randn(8, 5))

    def freeze():
        net[0].weight.requires_grad_(False)

    def load():
        net.load_state_dict(mlp().state_dict())

    def more_layers():
        net.append(nn.ReLU())

    def other_option():
        net[1].p = 0.9

    def hook():
        net[0].register_forward_hook(lambda module, args, out: out * 2)

    return [replace_layer, replace_parameter, freeze, load, more_layers, other_option, net.eval, net.train, net.double, hook]


@pytest.mark.parametrize("number", range(10))
@pytest.mark.parametrize("inside", [False, True], ids=["module", "function"])
@pytest.mark.filterwarnings("ignore::minidl.compiler.CompileWarning")
def test_a_change_of_the_module_is_seen(number, inside):
    net = nn.Sequential(nn.Linear(5, 8), nn.Dropout(0.2), nn.ReLU(), nn.Linear(8, 8), nn.Linear(8, 3))
    if number == 3:
        net = mlp()
    fast = minidl.compile((lambda x: net(x) * 2) if inside else net)
    factor = 2 if inside else 1

    def check(seed):
        x, _ = batch((5,), seed, dtype=net[-2 if hasattr(net[-1], "inplace") else -1].weight.numpy(force=True).dtype)
        minidl.manual_seed(seed)
        got = fast(x)
        minidl.manual_seed(seed)
        wanted = net(x) * factor
        close(got, wanted)
        grads = []
        for out in (got, wanted):
            net.zero_grad()
            out.sum().backward()
            grads.append([p.grad for p in net.parameters()])
        for a, b in zip(*grads):
            assert (a is None) == (b is None)
            if a is not None:
                close(a, b)

    for seed in range(3):
        check(seed)
    assert is_compiled(fast)
    changes(net)[number]()
    for seed in range(3, 7):
        check(seed)
    if number != 9:
        assert is_compiled(fast)


def test_a_parameter_of_no_known_module_is_seen_to_change():
    net = nn.Linear(5, 3)
    f = minidl.compile(lambda x: F.linear(x, net.weight, net.bias))  # net itself is not called
    for seed in range(3):
        f(batch((5,), seed)[0])
    assert is_compiled(f)
    net.weight = nn.Parameter(minidl.randn(3, 5))
    x, _ = batch((5,), 9)
    close(f(x), net(x))


def test_a_buffer_of_another_dtype_or_replaced_is_seen():
    net = nn.BatchNorm1d(3, affine=False).eval()
    f = minidl.compile(lambda x: (net(x.to(net.running_mean.dtype)), x.to(net.running_mean.dtype)))
    for seed in range(3):
        f(batch((3,), seed)[0])
    net.double()
    for seed in range(3):
        x, _ = batch((3,), seed)
        out, same = f(x)
        assert out.dtype == same.dtype == minidl.float64
        close(out, net(x.double()))
    assert is_compiled(f)
    net.running_mean = minidl.ones(3, dtype=minidl.float64)
    for _ in range(3):
        close(f(x)[0], net(x.double()))
    assert is_compiled(f)


def test_what_python_reads_of_an_argument_counts():
    def f(x):
        if x.requires_grad:
            return x * 2
        y = x.contiguous()
        y += 1
        return y

    fast = minidl.compile(f)
    for _ in range(3):
        assert fast(minidl.ones(2, 2)).sum().item() == 8
        assert fast(minidl.ones(2, 2, requires_grad=True)).requires_grad
        x = minidl.arange(4.0).view(2, 2).t()
        assert fast(x).tolist() == [[1, 3], [2, 4]] and x.tolist() == [[0, 2], [1, 3]]
    assert is_compiled(fast) and len(fast._compiled.programs) == 3


def test_the_default_dtype_counts():
    f = minidl.compile(lambda x: x + minidl.ones(3))
    x = minidl.arange(3)
    for _ in range(3):
        assert f(x).dtype == minidl.float32
    before = minidl.get_default_dtype()
    minidl.set_default_dtype(minidl.float64)
    try:
        assert f(x).dtype == minidl.float64
    finally:
        minidl.set_default_dtype(before)


# -- functions, and whole training steps


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("clip", [False, True], ids=["", "clip"])
def test_a_compiled_training_step_is_the_step(name, optimizer, clip):
    make, shape = NETS[name]
    nets = [make()]
    nets.append(copy.deepcopy(nets[0]))

    def stepper(net):
        opt = OPTIMIZERS[optimizer](net.parameters())

        def step(x, y):
            opt.zero_grad()
            loss = F.cross_entropy(net(x), y)
            loss.backward()
            if clip:
                nn.utils.clip_grad_norm_(net.parameters(), 0.5)
                nn.utils.clip_grad_value_(net.parameters(), 0.1)
            opt.step()
            return loss

        return opt, step

    (slow_opt, slow), (fast_opt, written) = map(stepper, nets)
    fast = minidl.compile(written)
    for i in range(10):
        x, y = batch(shape, i)
        minidl.manual_seed(i)
        a = slow(x, y)
        minidl.manual_seed(i)
        b = fast(x, y)
        close(a, b, 1e-4)
        if i == 5:
            for opt in (slow_opt, fast_opt):
                opt.param_groups[0]["lr"] = 0.002
    assert is_compiled(fast)
    for p, q in zip(nets[0].parameters(), nets[1].parameters()):
        np.testing.assert_allclose(p.detach(), q.detach(), rtol=1e-3, atol=1e-4)


def test_eval_is_respected_by_a_compiled_step():
    net = dropping()
    f = minidl.compile(lambda x: net(x))
    x, _ = batch((5,), 0)
    for _ in range(3):
        f(x)
    net.eval()
    for _ in range(3):
        close(f(x), net(x))


def test_changes_in_place_stay_in_order():
    def f(x, w):
        h = (x + w).relu() * w
        part = h[:, 1:]
        part *= 2
        x += 1
        return h.exp() + x, part

    fast = minidl.compile(f)
    for seed in range(5):
        results = []
        for call in (f, fast):
            x, _ = batch((3,), seed)
            w = minidl.ones(3, requires_grad=True)
            out, part = call(x, w)
            (out.sum() + part.sum()).backward()
            results.append((out, part, x, w.grad))
        for a, b in zip(*results):
            close(a, b)
    assert is_compiled(fast)


def large_chain(x, y):
    a = (x * 2 + 0.5).tanh()
    z = a.exp() * y - 1
    p, q = z * 3, z * 2 + x
    q = q.sin()
    p += 1  # no chain over this
    return (p * q).sigmoid() + x


def changed_later(x, y):
    """The rules of these ops need neither x nor y; a chain would."""
    out = (x * 2 + y).tanh()
    y += 1
    return out + y


CHAINS = {
    large_chain: "fused: mul + add + tanh + exp + mul + sub; fused: mul + add + sin; fused: mul + sigmoid + add",
    changed_later: "5 steps became 5",
}


@pytest.mark.parametrize("function", CHAINS)
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
@pytest.mark.parametrize("n_threads", [1, 3])
def test_chains_on_large_arrays_in_any_memory_order(function, order, n_threads, several_threads, monkeypatch):
    minidl.set_num_threads(n_threads)
    monkeypatch.setattr(cpu.elementwise, "BLOCK", 1 << 14)
    monkeypatch.setattr(sys.modules["minidl.compiler.rewrite"], "WORTH_A_CHAIN", 1)
    rng = np.random.default_rng(0)
    fast = minidl.compile(function)
    for _ in range(3):
        stored = rng.normal(size=(2, *np.array([40, 50, 60])[list(order)]))
        x, y = stored.transpose(0, *(1 + np.argsort(order)))
        results = []
        for call in (function, fast):
            a, b = minidl.from_numpy(x.copy(order="K")).requires_grad_(), minidl.from_numpy(y.copy(order="K"))
            out = call(a, b)
            (g,) = minidl.autograd.grad(out, a, minidl.from_numpy(np.cos(x)))
            results.append((out, b, g))
        for p, q in zip(*results):
            np.testing.assert_allclose(p.detach(), q.detach(), rtol=1e-12, atol=1e-12)
    assert CHAINS[function] in explain(fast)


def test_one_tensor_twice_is_not_two_tensors():
    f = minidl.compile(lambda x, y: x * 2 - y)
    a, b = minidl.tensor([1.0, 2.0]), minidl.tensor([1.0, 2.0])
    for _ in range(3):
        assert f(a, a).tolist() == [1, 2]
    for _ in range(3):
        assert f(a, b).tolist() == [1, 2]
    assert f(minidl.tensor([5.0, 5.0]), b).tolist() == [9, 8]
    for n in range(4):
        c = minidl.tensor([1.0, n])
        assert f(c, c).tolist() == [1, n]
    assert f(c, a).tolist() == [1, 4]
    assert is_compiled(f)


def test_an_argument_that_the_function_knows_anyway():
    table = minidl.tensor([1.0, 2.0])
    net = nn.Linear(2, 2)
    f, g = minidl.compile(lambda x: x * table), minidl.compile(lambda w: (w * 2 + net.weight).sum())
    for _ in range(4):
        assert f(table).tolist() == [1, 4]
    assert is_compiled(f)
    for w in (net.weight, net.weight, net.weight):
        close(g(w), (w * 2 + net.weight).sum())
    for call, other, out in ((f, minidl.tensor([1.0, 1.0]), table), (g, nn.Parameter(minidl.zeros(2, 2)), net.weight.sum())):
        with pytest.warns(CompileWarning, match="other (arguments|ops)"):
            close(call(other), out)
        close(call(other), out)
        assert not is_compiled(call)


NET = TABLE = None


def by_global_names():
    """A step that finds all by names of its file, partly in another function; and what replaces one of these."""

    def replace(name, value):
        globals()[name] = value

    return (lambda x: loss_of(x) * 2), replace


def loss_of(x):
    return (NET(x) * TABLE).sum()


def by_variables_around():
    NET = TABLE = None  # of this function, not of the file

    def replace(name, value):
        nonlocal NET, TABLE
        NET, TABLE = (value, TABLE) if name == "NET" else (NET, value)

    def step(x):
        def inner():
            return NET(x) * TABLE

        return inner().sum() * 2

    return minidl.enable_grad()(step), replace


def by_attributes():
    class Trainer:
        def step(self, x):
            return (self.NET(x) * self.TABLE).sum() * 2

    trainer = Trainer()
    return trainer.step, lambda name, value: setattr(trainer, name, value)


@pytest.mark.parametrize("make", [by_global_names, by_variables_around, by_attributes])
def test_what_a_function_finds_by_name_may_be_replaced(make):
    f, replace = make()
    nets, tables = [nn.Linear(3, 2) for _ in range(2)], [minidl.randn(2) for _ in range(2)]
    try:
        replace("NET", nets[0])
        replace("TABLE", tables[0])
        fast = minidl.compile(f)
        for net, table in [(0, 0), (1, 0), (1, 1), (0, 1)]:
            replace("NET", nets[net])
            replace("TABLE", tables[table])
            for seed in range(4):
                x, _ = batch((3,), seed)
                close(fast(x), (nets[net](x) * tables[table]).sum() * 2)
            assert is_compiled(fast)
    finally:
        globals().update(NET=None, TABLE=None)


def test_another_optimiser_and_another_helper():
    w = nn.Parameter(minidl.ones(3))
    opt, loss = minidl.optim.SGD([w], 0.5), lambda: w.sum()

    @minidl.compile
    def step():
        opt.zero_grad()
        loss().backward()
        opt.step()

    for _ in range(4):
        step()
    assert is_compiled(step) and w.tolist() == [-1] * 3
    opt = minidl.optim.SGD([w], 1.0)
    step()
    assert w.tolist() == [-2] * 3
    step()
    loss = lambda: -2 * w.sum()  # noqa: E731
    for _ in range(3):
        step()
    assert is_compiled(step) and w.tolist() == [3] * 3


def test_what_a_function_only_writes_down_is_not_part_of_it():
    last, net = None, mlp()

    @minidl.compile
    def f(x):
        nonlocal last
        last = net(x)
        return last * 1

    for seed in range(5):
        f(batch((5,), seed)[0])
    before, last = f._compiled.programs.copy(), minidl.ones(1)
    f(batch((5,), 9)[0])
    assert is_compiled(f) and f._compiled.programs == before


def test_the_same_batch_again_and_then_another():
    net = mlp()
    fast = minidl.compile(net)
    x, _ = batch((5,), 0)
    for _ in range(4):
        close(fast(x), net(x))
    for seed in range(1, 4):
        x, _ = batch((5,), seed)
        close(fast(x), net(x))
    assert is_compiled(fast) and not fast._compiled.programs.copy().popitem()[1].same


@pytest.mark.filterwarnings("ignore::minidl.compiler.CompileWarning")
def test_compiled_inside_compiled_and_recursion():
    net = mlp()
    inner = minidl.compile(net)
    x, _ = batch((5,), 0)
    for _ in range(3):
        inner(x)  # has its program already
    outer = minidl.compile(nn.Sequential(inner, nn.ReLU()))

    @minidl.compile
    def power(x, n):
        return x if n == 1 else x * power(x, n - 1)

    for seed in range(4):
        x, _ = batch((5,), seed)
        close(outer(x), net(x).relu())
        close(power(x, 4), x**4)
    assert is_compiled(outer) and is_compiled(power)
    assert "linear + relu" in outer.explain()


def test_threads_may_call_it_at_once():
    net = cnn()
    fast = minidl.compile(net)
    batches = [batch((3, 12, 12), seed)[0] for seed in range(8)]
    wanted = [net(x) for x in batches]
    wrong, start = [], threading.Barrier(4)

    def work():
        start.wait()
        for x, right in zip(batches, wanted):
            try:
                close(fast(x), right)
            except Exception as error:
                wrong.append(error)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong and is_compiled(fast)


def test_an_error_inside_leaves_nothing_behind():
    broken = True

    @minidl.compile
    def f(x):
        y = x * 2
        if broken:
            raise KeyError("mine")
        return y

    x = minidl.ones(2)
    for _ in range(3):
        with pytest.raises(KeyError, match="mine"):
            f(x)
    assert minidl.is_grad_enabled() and minidl.autograd.mode.mode.watcher is None
    assert "not compiled yet" in explain(f)
    broken = False
    for _ in range(3):
        assert f(x).tolist() == [2, 2]
    assert is_compiled(f)


def test_the_profiler_sees_fused_ops():
    net = cnn()
    fast = minidl.compile(net)
    opt = minidl.optim.SGD(net.parameters(), lr=0.1)

    @minidl.compile
    def step(x):
        opt.zero_grad()
        fast(x).sum().backward()
        opt.step()

    x, _ = batch((3, 12, 12), 0)
    for _ in range(3):
        step(x)
    totals = []
    for call in (step, step._compiled.function):
        with minidl.profiler.profile() as p:
            call(x)
        totals.append({r.name: r for r in p.key_averages() if r.phase == "forward"})
        assert "SGD.step" in {r.name for r in p.key_averages()}
    fused, plain = totals
    assert fused["conv2d_relu_pool"].calls == 2 and fused["linear_relu"].calls == 1 and "conv2d" not in fused
    together = sum(plain[name].flops for name in ("conv2d", "relu", "max_pool2d", "linear"))
    ours = sum(fused[name].flops for name in ("conv2d_relu_pool", "linear_relu", "linear"))
    assert 0.9 * together <= ours <= together


class Listener(minidl.autograd.watch.Watcher):
    def __init__(self):
        self.heard = []

    def effect(self, function, args):
        self.heard.append(function.__name__)
        return super().effect(function, args)


def test_watchers_hear_of_effects():
    w = minidl.ones(3, requires_grad=True)

    @minidl.compile
    def f(x):
        (x * w).sum().backward()
        x += 1

    heard = []
    for _ in range(4):
        with Listener() as listener:
            f(minidl.ones(3))
        heard.append(listener.heard)
    assert heard == [["_backward", "_change"]] * 4 and w.grad.tolist() == [4, 4, 4] and is_compiled(f)


def test_a_program_keeps_no_activation_alive():
    net = nn.Sequential(nn.Linear(64, 512), *[nn.Linear(512, 512) for _ in range(5)], nn.ReLU(), nn.Linear(512, 4))
    fast = minidl.compile(net)
    with minidl.no_grad():
        for seed in range(3):
            fast(batch((64,), seed, 512)[0])
        assert is_compiled(fast)
        x = batch((64,), 5, 512)[0]
        gc.collect()
        tracemalloc.start()
        out = fast(x)
        held, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        activation = 512 * 512 * 4
        assert held < 64_000 and peak < 3.5 * activation  # two at a time, and one in the making
        seen = weakref.ref(x)
        del x, out
        assert seen() is None


def test_watching_keeps_neither_inputs_nor_graphs_alive():
    fast = minidl.compile(mlp())
    for seed in range(2):
        x, _ = batch((5,), seed)
        out = fast(x)
        seen = weakref.ref(x), weakref.ref(out)
        del x, out
        assert [s() for s in seen] == [None, None]


# -- any function

PLACES = st.integers(0, 9)
LINES = st.one_of(
    st.tuples(st.sampled_from(["exp", "tanh", "relu", "neg", "clone"]), PLACES),
    st.tuples(st.sampled_from(["add", "mul", "sub", "maximum"]), PLACES, PLACES),
    st.tuples(st.sampled_from(["add", "mul"]), PLACES, st.sampled_from([2, 0.5])),
    st.tuples(st.sampled_from(["part", "turned"]), PLACES),
    st.tuples(st.just("linear"), PLACES),
    st.tuples(st.sampled_from(["mul_", "add_"]), PLACES, st.sampled_from([2, 0.5])),
    st.tuples(st.sampled_from(["add_", "copy_"]), PLACES, PLACES),
)
KNOWN = minidl.from_numpy(np.random.default_rng(5).normal(size=(3, 3))).requires_grad_()


def written(lines, outputs, values, weight):
    """The function that ``lines`` say: each works on values (3, 3) by their places, and most add another one."""
    values = [*values, KNOWN, weight]
    for name, at, *rest in lines:
        x = values[at % len(values)]
        other = [values[r % len(values)] if type(r) is int and name not in ("mul_",) and r != 2 else r for r in rest]
        if name == "part":
            values.append(x[1:2].expand(3, 3) + x[0])
        elif name == "turned":
            values.append(x.t())
        elif name == "linear":
            values.append(F.linear(x, weight, weight[0]))
        elif name.endswith("_"):
            getattr(x, name)(*other)
        else:
            values.append(getattr(x, name)(*other) * 0.5)
    return [values[o % len(values)] for o in outputs]


@given(st.lists(LINES, min_size=2, max_size=8), st.lists(PLACES, min_size=1, max_size=3), st.integers(0, 2**16))
def test_any_function_is_the_same_compiled(lines, outputs, seed):
    module = sys.modules["minidl.compiler.rewrite"]
    before, module.WORTH_A_CHAIN = module.WORTH_A_CHAIN, 1
    try:
        fast = minidl.compile(lambda *values: written(lines, outputs, values[:2], values[2]))
        for call in range(4):
            rng = np.random.default_rng(seed + call)
            numbers, g = rng.normal(size=(3, 3, 3)), rng.normal(size=(3, 3))
            results = []
            for f in (fast._compiled.function, fast):
                values = [minidl.from_numpy(a.copy()) for a in numbers]
                values[2].requires_grad_()
                KNOWN.grad = None
                try:
                    outs = f(*values)
                    sum((out * minidl.from_numpy(g)).sum() for out in outs).backward()
                except RuntimeError:  # a leaf is changed in place, or something that is needed
                    results.append([])
                else:
                    results.append([*outs, *values, values[2].grad, KNOWN.grad])
            if results[0]:
                assert results[1], explain(fast)
                for a, b in zip(*results):
                    assert (a is None) == (b is None)
                    if a is not None:
                        close(a, b, 1e-10)
    finally:
        module.WORTH_A_CHAIN = before


# -- what cannot be compiled runs as it is written, and says why


class Renamed(nn.Module):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return x * self.calls


W = minidl.ones(3, requires_grad=True)
SOURCE = minidl.Generator().manual_seed(3)
SCHEDULED = minidl.optim.SGD([minidl.ones(1, requires_grad=True)], lr=1.0)


class Twice(minidl.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, g):
        return 2 * g


def with_bool(x):
    return x * 2 if x.sum() > 0 else x * 3


def with_no_grad(x):
    with minidl.no_grad():
        y = x * 2
    return x + y


def with_change_in_no_grad(x):
    y = x * W
    with minidl.no_grad():
        y += 1
    return y


def switching(x):
    y = x * 2
    minidl.set_grad_enabled(False)
    return y


def with_data(x):
    return x + minidl.Tensor.data.fget(x)


def clearing(x):
    W.grad = None
    (x * W).sum().backward()
    return x * 1


def reading_grad(x):
    W.grad = None
    (x * W).sum().backward()
    return W.grad


def seeding(x):
    minidl.manual_seed(1)
    return F.dropout(x, 0.5)


def other_source(x):
    with minidl.random.drawing_from(SOURCE):
        return F.dropout(x, 0.5)


def detaching(x):
    y = x * W
    y.detach_()
    return y


def hooking(x):
    y = x * W
    y.register_hook(lambda g: g * 2)
    return y


def accumulating(x):
    total = minidl.zeros(3)
    total += x
    return total


def accumulating_by_view(x):
    total = minidl.zeros(2, 3)
    total[0].add_(x)
    return total * 2


STATE = [W * 0]


def with_state(x):
    y = x * STATE[0] + x
    STATE[0] = W * 0
    return y


COUNT = [0]


def counting(x):
    COUNT[0] += 1
    return x * COUNT[0]


def counting_outside(x):
    COUNT[0] += 1
    return x * 2, COUNT[0]


def filling(x):
    return x * 2, minidl.zeros(2)


def scheduled(x):
    minidl.optim.lr_scheduler.StepLR(SCHEDULED, 1).step()
    return x * 2


def other_ops(x):
    COUNT[0] += 1
    return x.exp() if COUNT[0] % 2 else x.sin()


def more_ops(x):
    COUNT[0] += 1
    return x * 2 if COUNT[0] % 2 else x * 2 + 1


def gradient(x):
    return minidl.autograd.grad((W * x).sum(), W)[0]


FALLBACKS = {
    "item()": lambda x: x * x.sum().item(),
    "bool()": with_bool,
    "numpy()": lambda x: x + minidl.from_numpy(x.numpy() * 2),
    "tolist()": lambda x: x + minidl.tensor(x.tolist()),
    "deepcopy()": lambda x: x + copy.deepcopy(x),
    "tensor()": lambda x: x + minidl.tensor(x),
    "arange()": lambda x: x + minidl.arange(x[:1].sum() * 0 + 3),
    "requires_grad_()": lambda x: (x + 1).requires_grad_() * 2,
    "recording is switched": with_no_grad,
    "recording is switched ": with_change_in_no_grad,
    "it leaves recording": switching,
    ".data is read": with_data,
    ".grad is set": clearing,
    ".grad is set ": reading_grad,
    "seeded": seeding,
    "another random generator": other_source,
    "random numbers": lambda x: x + minidl.rand(3),
    "random numbers ": lambda x: x + minidl.randint(0, 1, (3,)),
    "random numbers  ": lambda x: (x * 1).normal_(),
    "detach_()": detaching,
    "a hook": hooking,
    "calls grad()": gradient,
    "is an index": lambda x: x[minidl.tensor([0, 2, 1])] + x,
    "depends on numbers": lambda x: x.sum() / x.nonzero().shape[0],
    "depends on numbers ": lambda x: F.one_hot(x.long().abs()),
    "changed or returned": accumulating,
    "changed or returned ": accumulating_by_view,
    "made anew": with_state,
    "changed or returned  ": filling,
    "other arguments": counting,
    "returns something else": counting_outside,
    "a schedule": scheduled,
    "other ops": other_ops,
    "the next": more_ops,
    "Twice, a Function": lambda x: Twice.apply(x),
    "what it returns is a generator": lambda x: (x * i for i in range(2)),
}


@pytest.mark.parametrize("reason", FALLBACKS)
def test_what_cannot_be_compiled_says_why_once_and_is_right(reason):
    function = FALLBACKS[reason]
    fast = minidl.compile(function)
    said = []
    for seed in range(6):
        x, _ = batch((), seed, 3)
        x = x.abs() + 0.1 if seed < 4 else -x.abs() - 0.1
        results = []
        for call in (function, fast):
            minidl.manual_seed(seed)
            SOURCE.manual_seed(seed)
            COUNT[0] = seed
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                out = call(x.clone())
                if call is fast:
                    said += [w for w in caught if w.category is CompileWarning]
            minidl.set_grad_enabled(True)
            results.append([t for t in (out if isinstance(out, tuple) else [out]) if isinstance(t, minidl.Tensor)])
        for a, b in zip(*results, strict=True):
            close(a, b)
            assert a.requires_grad == b.requires_grad
    assert len(said) == 1 and reason.strip() in str(said[0].message) and "as it is written" in explain(fast)
    assert said[0].filename == __file__


@pytest.mark.parametrize("kind", ["before", "after"])
def test_hooks_are_called_every_time(kind):
    net = mlp()
    fast = minidl.compile(net)
    x, _ = batch((5,), 0)
    if kind == "after":
        for _ in range(3):
            fast(x)
    calls = []
    hook = net[1].register_forward_hook(lambda *_: calls.append(1))
    with pytest.warns(CompileWarning, match="ReLU has hooks"):
        for _ in range(3):
            fast(x)
    hook.remove()
    for _ in range(3):
        fast(x)
    assert len(calls) == 3 and is_compiled(fast)


def test_hooks_of_the_compiled_module_and_of_tensors_are_called_every_time():
    net = mlp()
    fast = minidl.compile(net)
    calls = []
    fast.register_forward_hook(lambda module, args, out: calls.append("forward"))
    net[0].weight.register_hook(lambda g: calls.append("weight"))
    for seed in range(4):
        fast(batch((5,), seed)[0]).sum().backward()
    assert calls == ["forward", "weight"] * 4 and is_compiled(fast)


def test_warnings_point_at_the_call():
    fast = minidl.compile(nn.Sequential(nn.Sequential(Renamed())))
    with pytest.warns(CompileWarning) as caught:
        for _ in range(4):
            out = fast(minidl.ones(1))
    assert [w.filename for w in caught] == [__file__] and "changes attributes" in str(caught[0].message)
    assert out.tolist() == [4] and fast._orig_mod[0][0].calls == 4


@pytest.mark.parametrize("argument", [np.ones(3), {1, 2}, object()], ids=["array", "set", "object"])
def test_arguments_that_cannot_be_compared(argument):
    f = minidl.compile(lambda x, other: x * 2)
    with pytest.warns(CompileWarning, match="an argument is a") as caught:
        for _ in range(3):
            assert f(minidl.ones(2), argument).tolist() == [2, 2]
    assert len(caught) == 1


def test_an_argument_that_is_changed_is_changed_every_time():
    def f(x, seen):
        seen.append(x * 2)
        return x

    f = minidl.compile(f)
    with pytest.warns(CompileWarning, match="list or dict that it is given"):
        for _ in range(4):
            seen = []
            f(minidl.ones(2), seen)
            assert len(seen) == 1


def test_too_many_kinds_of_arguments():
    f = minidl.compile(lambda x, n: x * n)
    with pytest.warns(CompileWarning, match="more than 64 kinds") as caught:
        for n in range(70):
            assert f(minidl.ones(1), n).item() == n
    assert len(caught) == 1


def test_an_attribute_that_changes_between_all_calls():
    net = nn.Dropout(0.5)
    fast = minidl.compile(net)
    with pytest.warns(CompileWarning, match="at every call") as caught:
        for i in range(70):
            net.p = i / 100
            fast(minidl.ones(2))
    assert len(caught) == 1
    net.p = 0.0
    assert fast(minidl.ones(2)).tolist() == [1, 1]


def test_bad_calls():
    with pytest.raises(TypeError, match="wants a Module or a function"):
        minidl.compile(3)
    with pytest.raises(NotImplementedError, match="backend"):
        minidl.compile(mlp(), backend="inductor")
    with pytest.raises(TypeError, match="moed"):
        minidl.compile(mlp(), moed=None)

    @minidl.compile()
    def f(x):
        """Doubles."""
        return x * 2

    assert f.__doc__ == "Doubles." and f(minidl.ones(1)).item() == 2


def test_small_arrays_are_not_chained(monkeypatch):
    f = minidl.compile(lambda x: (x * 2 + 1).sin())
    for seed in range(3):
        f(batch((), seed)[0])
    assert "fused" not in explain(f)
    monkeypatch.setattr(sys.modules["minidl.compiler.rewrite"], "WORTH_A_CHAIN", 1)
    g = minidl.compile(lambda x: (x * 2 + 1).sin())
    for seed in range(3):
        x, _ = batch((), seed)
        close(g(x), (x * 2 + 1).sin())
    assert "fused: mul + add + sin" in explain(g)


def test_chains_that_would_spare_nothing_are_left_alone(monkeypatch):
    """ReLU's rule knows its own result, and that of the sum nobody: one op after the other remembers as little."""
    monkeypatch.setattr(sys.modules["minidl.compiler.rewrite"], "WORTH_A_CHAIN", 1)
    f = minidl.compile(lambda x: (x + x * 2).relu())
    for seed in range(3):
        f(batch((), seed)[0])
    assert "fused" not in explain(f)


def test_a_tensor_that_bounds_a_slice_is_noticed():
    def taken(x, n):
        return x[: n.max()]

    def set_to_zero(x, n):
        y = x * 1
        y[: n.max()] = 0
        return y

    for function in (taken, set_to_zero):
        f = minidl.compile(function)
        with pytest.warns(CompileWarning, match="reads it|is an index"):
            for n in (3, 3, 5):
                assert f(minidl.ones(6), minidl.tensor([n])).tolist() == function(minidl.ones(6), minidl.tensor([n])).tolist()


def test_gradients_of_parameters_that_join_later_are_cleared():
    results = []
    for compiled in (False, True):
        minidl.manual_seed(0)
        a, b = nn.Linear(1, 1), nn.Linear(1, 1)
        optimizer = minidl.optim.SGD(b.parameters(), lr=0.1)

        def step(x, a=a, b=b, optimizer=optimizer):
            optimizer.zero_grad()
            loss = b(a(x)).mean()
            loss.backward()
            optimizer.step()
            return loss

        run = minidl.compile(step) if compiled else step
        for i in range(6):
            if i == 3:
                optimizer.add_param_group({"params": list(a.parameters())})
            run(minidl.ones(1, 1))
        results.append([a.weight.item(), a.weight.grad.item(), b.weight.item()])
    assert results[1] == pytest.approx(results[0], rel=1e-6)


def test_options_of_an_optimiser_set_inside_are_noticed():
    p = nn.Parameter(minidl.ones(3))
    optimizer, count = minidl.optim.SGD([p], lr=1.0), [0]

    @minidl.compile
    def step():
        count[0] += 1
        optimizer.param_groups[0]["lr"] = 1 / count[0]
        optimizer.zero_grad()
        (p * p).sum().backward()
        optimizer.step()

    with pytest.warns(CompileWarning, match="changes the options of an optimiser"):
        for _ in range(5):
            step()
    assert count == [5] and optimizer.param_groups[0]["lr"] == 1 / 5


@pytest.mark.parametrize("how", [copy.copy, lambda x: pickle.loads(pickle.dumps(x)), lambda x: (repr(x), x)[1]])
def test_copies_and_prints_are_noticed(how):
    f = minidl.compile(lambda x: x * how(x))
    with pytest.warns(CompileWarning):
        for sign in (1, 1, -1):
            assert f(minidl.ones(2) * sign).tolist() == [1, 1]

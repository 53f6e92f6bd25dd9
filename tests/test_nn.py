"""Modules: registers, names, hooks, modes, state, copies, and what is said when something is wrong."""

import copy
import pickle
import weakref
from collections import OrderedDict

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.shapes import ShapeError

RNG = np.random.default_rng(0)


class Net(nn.Module):
    """Written in the old style, with a nested module, a buffer, a buffer that is not saved, and a plain tensor."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 4)
        self.body = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2, bias=False))
        self.scale = nn.Parameter(minidl.ones(2))
        self.register_buffer("seen", minidl.zeros(1))
        self.register_buffer("scratch", minidl.zeros(1), persistent=False)
        self.plain = minidl.zeros(5)

    def forward(self, x):
        return self.body(self.fc(x)) * self.scale


NAMES = [
    "scale", "seen", "fc.weight", "fc.bias", "body.0.weight", "body.0.bias", "body.0.running_mean", "body.0.running_var",
    "body.0.num_batches_tracked", "body.2.weight",
]  # fmt: skip


def test_what_is_registered():
    net = Net()
    assert list(net.state_dict()) == NAMES
    trained = [n for n in NAMES if "running" not in n and n not in ("seen", "body.0.num_batches_tracked")]
    assert [n for n, _ in net.named_parameters()] == trained
    assert [n for n, _ in net.named_buffers()][:2] == ["seen", "scratch"]
    assert [n for n, _ in net.named_modules()] == ["", "fc", "body", "body.0", "body.1", "body.2"]
    assert [n for n, _ in net.named_children()] == ["fc", "body"]
    assert list(net.parameters(recurse=False)) == [net.scale]
    assert list(net.modules())[1] is net.fc and list(net.children())[1] is net.body and len(list(net.buffers())) == 5
    assert net.get_submodule("body.2") is net.body[2] and net.get_submodule("") is net
    assert net.get_parameter("body.2.weight") is net.body[2].weight and net.get_buffer("seen") is net.seen
    assert {"fc", "scale", "seen", "plain"} <= set(dir(net))


def test_assignment_keeps_the_registers_straight():
    net = Net()
    with pytest.raises(TypeError, match="'Tensor' to 'scale'.*Parameter"):
        net.scale = minidl.ones(2)
    with pytest.raises(TypeError, match="'int' to 'fc'"):
        net.fc = 3
    with pytest.raises(TypeError, match="'str' to 'seen'"):
        net.seen = "x"
    net.seen = minidl.ones(1)
    assert net.state_dict()["seen"].item() == 1
    net.scale = None
    assert net.scale is None and "scale" not in net.state_dict()
    net.plain = nn.Parameter(minidl.zeros(5))  # was an attribute like any other
    net.seen = nn.Linear(1, 1)  # was a buffer
    assert "plain" in net.state_dict() and "seen.weight" in net.state_dict() and "seen" not in dict(net.named_buffers())
    del net.fc, net.plain
    assert not hasattr(net, "fc") and not hasattr(net, "plain") and "fc.weight" not in net.state_dict()
    with pytest.raises(AttributeError, match="nothing"):
        del net.nothing
    with pytest.raises(AttributeError, match="'Net' object has no attribute 'nothing'"):
        _ = net.nothing


def test_registers():
    """What is changed in one is changed in the module, as with PyTorch's dictionaries."""
    net = Net()
    new = net._parameters["scale"] = nn.Parameter(minidl.ones(1))
    assert net.scale is new and dict(net.named_parameters())["scale"] is new
    net._buffers["more"] = minidl.ones(2)
    assert (
        net.more.shape == (2,)
        and "more" in net.state_dict()
        and repr(net._buffers) == repr(dict(net.named_buffers(recurse=False)))
    )
    assert net._modules.pop("fc").weight.shape == (4, 3) and not hasattr(net, "fc") and list(net._modules) == ["body"]
    assert "plain" not in net._buffers and "scale" not in net._modules
    for wrong in ("plain", "scale", "nothing"):
        with pytest.raises(KeyError, match=wrong):
            net._modules[wrong]
        with pytest.raises(KeyError, match=wrong):
            del net._modules[wrong]
    net.scale = None
    assert dict(net._parameters) == {"scale": None} and len(net._parameters) == 1
    row = nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Tanh())
    assert row._modules.popitem()[0] == "2" and list(reversed(row._modules)) == ["1", "0"] and len(row) == 2  # as of a dict
    with pytest.raises(KeyError, match="nothing is registered"):
        row._parameters.popitem()


def test_a_shallow_copy_has_a_register_of_its_own():
    """What was put into the copy was looked for in the original too: its ``state_dict`` raised KeyError."""
    net = Net()
    other = copy.copy(net)
    other.more, other.fc = nn.Parameter(minidl.ones(1)), None
    assert list(net.state_dict()) == NAMES and not hasattr(net, "more") and "more" in other.state_dict()
    other.register_buffer("scratch", minidl.zeros(1))
    assert "scratch" in other.state_dict() and "scratch" not in net.state_dict() and other.scale is net.scale


def test_a_wrapper_may_pass_on_what_it_has_not():
    """As PyTorch's programs write it; to see whether the name was taken asked ``__getattr__``, which wants ``inside``."""

    class Wrapper(nn.Module):
        def __init__(self, inside):
            super().__init__()
            self.inside = inside
            self.register_buffer("count", minidl.zeros(1))

        def __getattr__(self, name):
            try:
                return super().__getattr__(name)
            except AttributeError:
                return getattr(self.inside, name)

    net = Wrapper(nn.Linear(2, 3))
    assert net.in_features == 2 and net.weight.shape == (3, 2)
    assert list(net.state_dict()) == ["count", "inside.weight", "inside.bias"]
    with pytest.raises(AttributeError, match="nothing"):
        _ = net.nothing


def test_a_module_is_freed_with_its_last_name():
    seen = weakref.ref(nn.Sequential(nn.Linear(2, 2)))
    assert seen() is None


@pytest.mark.parametrize("value", [nn.Linear(1, 1), nn.Parameter(minidl.zeros(1))])
def test_assignment_before_init(value):
    class Early(nn.Module):
        def __init__(self):
            self.part = value

    with pytest.raises(AttributeError, match=r"'part' before Early has called super\(\).__init__\(\)"):
        Early()


@pytest.mark.parametrize("register", ["register_buffer", "register_parameter", "add_module", "register_module"])
def test_bad_names_and_values(register):
    net = Net()
    for name, error in (("a.b", KeyError), ("", KeyError), ("forward", KeyError), ("plain", KeyError), (3, TypeError)):
        with pytest.raises(error):
            getattr(net, register)(name, None)
    with pytest.raises(TypeError, match="must be a .* or None, got int"):
        getattr(net, register)("new", 3)
    assert list(net.state_dict()) == NAMES


@pytest.mark.parametrize(("target", "lacking"), [("fc.x", "x"), ("nothing.weight", "nothing"), ("scale.weight", "scale")])
def test_get_what_is_not_there(target, lacking):
    for get in (Net().get_parameter, Net().get_submodule, Net().get_buffer):
        with pytest.raises(AttributeError, match=f"has no [a-z]+ {lacking!r}"):
            get(target)


def test_no_forward():
    with pytest.raises(NotImplementedError, match="Empty.*forward"):
        type("Empty", (nn.Module,), {})()(1)


def test_shared_parameters_are_walked_once_and_saved_twice():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].weight = net[0].weight
    assert len(list(net.parameters())) == 3 and len(net.state_dict()) == 4
    assert len(list(net.named_parameters(remove_duplicate=False))) == 4


# -- hooks, modes


def test_hooks():
    layer, calls = nn.Linear(2, 3), []
    first = layer.register_forward_pre_hook(lambda module, args: calls.append(("before", module, args)))
    double = layer.register_forward_pre_hook(lambda module, args: args[0] * 2)
    after = layer.register_forward_hook(lambda module, args, out: calls.append(("after", args, out)))
    negative = layer.register_forward_hook(lambda module, args, out: -out)
    x = minidl.tensor(RNG.normal(size=(4, 2)).astype("float32"))
    expected = nn.functional.linear(x * 2, layer.weight, layer.bias)
    np.testing.assert_array_equal(layer(x).detach().numpy(), -expected.detach().numpy())
    assert calls[0] == ("before", layer, (x,)) and calls[1][0] == "after"
    np.testing.assert_array_equal(calls[1][2].detach().numpy(), expected.detach().numpy())
    for handle in (first, double, after, negative, negative):
        handle.remove()
    np.testing.assert_array_equal(layer(x).detach().numpy(), layer.forward(x).detach().numpy())
    assert len(calls) == 2


def test_modes_and_apply():
    net = Net()
    assert net.eval() is net and not any(module.training for module in net.modules())
    assert all(module.training for module in net.train().modules())
    with pytest.raises(ValueError, match="mode"):
        net.train(1)
    order = []
    assert net.apply(lambda module: order.append(type(module).__name__)) is net
    assert order == ["Linear", "BatchNorm1d", "Dropout", "Linear", "Sequential", "Net"]


def test_gradients_of_all_parameters():
    net = Net()
    x = minidl.tensor(RNG.normal(size=(4, 3)).astype("float32"))
    net(x).sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    net.zero_grad(set_to_none=False)
    assert all((p.grad == 0).all() for p in net.parameters())
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())
    net.requires_grad_(False)
    assert not net(x).requires_grad
    (net.requires_grad_()(x) ** 2).sum().backward(create_graph=True)
    net.zero_grad(set_to_none=False)
    assert all(p.grad.grad_fn is None and (p.grad == 0).all() for p in net.parameters())


def test_conversion_keeps_the_parameters():
    net = Net()
    before = list(net.parameters())
    net.fc.weight.grad = minidl.ones(4, 3)
    assert net.double() is net and all(p is q for p, q in zip(net.parameters(), before))
    assert net.fc.weight.dtype == minidl.float64 == net.fc.weight.grad.dtype == net.seen.dtype
    assert net.body[0].num_batches_tracked.dtype == minidl.int64 and net.fc.weight.is_leaf
    assert net.to(minidl.tensor(1.0)).scale.dtype == minidl.float32
    assert net.to("cpu", minidl.float64).scale.dtype == minidl.float64
    assert net.float().half().scale.dtype == minidl.float16
    assert net.cpu().to(device=minidl.device("cpu"), dtype=None).scale.dtype == minidl.float16
    with pytest.raises(TypeError, match="floating"):
        net.to(minidl.int64)
    with pytest.raises(TypeError, match="by name"):
        net.to(True)


# -- state


def test_state_shares_memory_and_loads_in_place():
    net, other = Net(), Net()
    state = net.state_dict()
    assert not any(t.requires_grad for t in state.values())
    with minidl.no_grad():
        net.scale.add_(1)
    assert state["scale"].tolist() == [2, 2]
    assert net.state_dict(keep_vars=True)["scale"] is net.scale
    assert "x.scale" in net.state_dict(prefix="x.")
    before = list(other.parameters())
    found = other.load_state_dict(state)
    assert repr(found) == "<All keys matched successfully>" and found.missing_keys == []
    assert all(p is q for p, q in zip(other.parameters(), before))
    with minidl.no_grad():
        net.scale.add_(1)
    assert other.scale.tolist() == [2, 2]  # a copy
    out = (net.scale * net.scale).sum()
    net.load_state_dict(other.state_dict())
    with pytest.raises(RuntimeError, match="changed in place by"):
        out.backward()


def test_bad_state_is_refused_whole():
    net = Net()
    state = OrderedDict((name, tensor.clone()) for name, tensor in net.state_dict().items())
    before = {name: tensor.numpy().copy() for name, tensor in state.items()}
    for tensor in state.values():
        tensor.add_(1)
    del state["fc.weight"], state["seen"]
    state["left"], state["right"] = minidl.zeros(1), minidl.zeros(1)
    state["body.2.weight"], state["scale"] = minidl.zeros(4, 2), [1.0, 2.0]
    with pytest.raises(RuntimeError) as caught:
        net.load_state_dict(state)
    for said in (
        "does not fit Net", "missing keys: 'seen', 'fc.weight'", "unexpected keys: 'left', 'right'",
        "'body.2.weight' has shape (4, 2) in state_dict, (2, 4) in the module",
        "'scale' must be a minidl.Tensor, got builtins.list",
    ):  # fmt: skip
        assert said in str(caught.value)
    with pytest.raises(RuntimeError, match=r"\(4, 2\)"):
        net.load_state_dict(state, strict=False)
    for name, tensor in net.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), before[name])
    del state["body.2.weight"], state["scale"]
    found = net.load_state_dict(state, strict=False)
    assert found.missing_keys == ["scale", "seen", "fc.weight", "body.2.weight"] and found.unexpected_keys == ["left", "right"]
    np.testing.assert_array_equal(net.fc.bias.detach().numpy(), before["fc.bias"] + 1)
    with pytest.raises(TypeError, match="mapping"):
        net.load_state_dict([1])


def test_copies():
    net = Net()
    net.fc.weight.grad = minidl.ones(4, 3)
    net.body[2].weight = nn.Parameter(net.body[2].weight.detach(), requires_grad=False)
    net.again = net.fc
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert repr(twin) == repr(net) and twin.again is twin.fc and isinstance(twin.scale, nn.Parameter)
        assert not twin.body[2].weight.requires_grad and twin.scale.requires_grad
        for (name, a), (_, b) in zip(twin.state_dict().items(), net.state_dict().items(), strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=name)
            assert not np.shares_memory(a.numpy(), b.numpy())


# -- parameters and containers


def test_parameter():
    data = minidl.zeros(2, 3)
    p = nn.Parameter(data)
    assert isinstance(p, minidl.Tensor) and p.requires_grad and p.is_leaf and not data.requires_grad
    data[0, 0] = 5.0
    assert p[0, 0].item() == 5
    assert type(p * 2) is minidl.Tensor and type(p.detach()) is minidl.Tensor and type(p.clone()) is minidl.Tensor
    assert repr(p).startswith("Parameter containing:\ntensor(") and repr(p).endswith("requires_grad=True)")
    assert not nn.Parameter(data, requires_grad=False).requires_grad
    assert nn.Parameter().shape == (0,)
    with pytest.raises(TypeError, match="data must be a Tensor, got list"):
        nn.Parameter([1.0])
    with pytest.raises(RuntimeError, match="floating"):
        nn.Parameter(minidl.tensor([1]))


def test_sequential():
    a, b, c = nn.ReLU(), nn.Tanh(), nn.Sigmoid()
    row = nn.Sequential(OrderedDict(first=a, second=b))
    assert row.first is a and row[-1] is b and len(row) == 2 and list(row) == [a, b]
    assert list(row[1:]._modules) == ["second"]
    row[0] = c
    assert row.first is c
    row = nn.Sequential(a).append(b).extend([c]).insert(0, nn.Identity())
    assert [type(m).__name__ for m in row] == ["Identity", "ReLU", "Tanh", "Sigmoid"] and list(row._modules) == list("0123")
    assert row.pop(1) is a and list(row._modules) == list("012")
    del row[:1]
    assert list(row) == [b, c]
    x = minidl.tensor(RNG.normal(size=3))
    np.testing.assert_allclose(row(x).numpy(), 1 / (1 + np.exp(-np.tanh(x.numpy()))))
    assert nn.Sequential()(x) is x
    for wrong, error in ((2, IndexError), (-3, IndexError), ("0", TypeError)):
        with pytest.raises(error):
            row[wrong]
    with pytest.raises(TypeError, match="Module or None, got int"):
        nn.Sequential(a, 3)


def test_module_list_and_dict():
    items = nn.ModuleList([nn.Linear(1, 2)])
    items += [nn.Linear(2, 3)]
    assert len(items + [nn.ReLU()]) == 3 and len(items[1:]) == 1 and len(list(items.parameters())) == 4
    with pytest.raises(NotImplementedError):
        items(1)
    named = nn.ModuleDict({"a": nn.ReLU()})
    named["b"] = nn.Linear(1, 1)
    named.update([("c", nn.Tanh())])
    assert list(named) == list(named.keys()) == ["a", "b", "c"] and "b" in named and len(named) == 3
    assert isinstance(named.pop("c"), nn.Tanh) and [type(m) for m in named.values()] == [nn.ReLU, nn.Linear]
    del named["a"]
    assert [name for name, _ in named.items()] == ["b"]
    named.clear()
    assert not len(named)
    shared = nn.ReLU()
    assert len(list(nn.ModuleList([shared, shared]).modules())) == 2
    assert len(list(nn.ModuleList([shared, shared]).modules(remove_duplicate=False))) == 3
    params = nn.ParameterList([minidl.zeros(2), nn.Parameter(minidl.ones(1))]).append(minidl.ones(3))
    params[0] = minidl.ones(4)
    assert [p.numel() for p in params] == [4, 1, 3] and len(params[1:]) == 2 and len(list(params.parameters())) == 3
    params += [minidl.ones(2)]
    assert isinstance(params, nn.ParameterList) and [p.numel() for p in params] == [4, 1, 3, 2]


def test_sums_and_products_of_sequentials():
    a, b, c = nn.ReLU(), nn.Linear(1, 1), nn.Tanh()
    row = nn.Sequential(a, b)
    assert list(row + nn.Sequential(c)) == [a, b, c] and list(row * 2) == list(2 * row) == [a, b, a, b] and len(row) == 2
    assert len(list((row * 3).parameters())) == 2  # they are shared
    row += nn.Sequential(c)
    row *= 2
    assert list(row) == [a, b, c, a, b, c] and list(row._modules) == list("012345")
    for wrong, error in (
        (lambda: row + [c], ValueError),
        (lambda: row.__iadd__([c]), ValueError),
        (lambda: row * 0, ValueError),
        (lambda: row * 1.5, TypeError),
        (lambda: row.__imul__("2"), TypeError),
    ):
        with pytest.raises(error, match="Sequential"):
            wrong()
    assert len(row) == 6


def test_parameter_dict():
    params = nn.ParameterDict({"b": minidl.zeros(2), "a": nn.Parameter(minidl.ones(1)), "n": 3})
    assert list(params) == list(params.keys()) == ["a", "b", "n"] and len(params) == 3  # sorted, as in PyTorch
    assert list(params.state_dict()) == ["a", "b"] and params["b"] is params.b and params.n == 3
    assert [type(v) for v in params.values()] == [nn.Parameter, nn.Parameter, int]
    params["c"] = minidl.ones(4)
    params["n"] = None
    assert isinstance(params["c"], nn.Parameter) and params.get("nothing") is None and params.get("c") is params.c
    assert params.setdefault("c", 1) is params.c and params.setdefault("d", minidl.ones(1)) is params.d
    assert params.popitem()[0] == "d" and params.pop("c").numel() == 4 and not hasattr(params, "c")
    twin = params.copy() | OrderedDict(z=minidl.ones(1), y=minidl.ones(1))
    assert list(twin) == ["a", "b", "n", "z", "y"] and twin["a"] is params["a"] and list(reversed(params)) == ["n", "b", "a"]
    params |= [("x", minidl.ones(2))]
    assert list(params) == ["a", "b", "n", "x"] and list(params.fromkeys("pq", minidl.ones(1))) == ["p", "q"]
    params.clear()
    assert not len(params) and not list(params.parameters())
    for wrong, error, said in (
        (lambda: params({}), RuntimeError, "cannot be called"),
        (lambda: params.update({1: minidl.ones(1)}), TypeError, "names must be strings, got int"),
        (lambda: params.update({"forward": minidl.ones(1)}), KeyError, "already has an attribute 'forward'"),
        (lambda: params.update([("a.b", minidl.ones(1))]), KeyError, "a.b"),
        (lambda: params["a"], AttributeError, "'a'"),
    ):
        with pytest.raises(error, match=said):
            wrong()
        assert list(params) == []


# -- layers


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda: nn.Conv2d(3, 4, 3, groups=2), ValueError, "groups=2"),
        (lambda: nn.Conv2d(4, 4, 3, groups=0), ValueError, "groups=0"),
        (lambda: nn.Conv2d(3, 4, 3, padding="some"), ValueError, "padding"),
        (lambda: nn.Conv2d(3, 4, 3, padding="same", stride=2), ValueError, "stride"),
        (lambda: nn.ConvTranspose2d(3, 4, 3, padding_mode="circular"), ValueError, "padding_mode .* got 'circular'"),
        (lambda: nn.Conv2d(3, 4, 2.5), TypeError, "kernel_size"),
        (lambda: nn.Dropout(1.5), ValueError, "1.5"),
        (lambda: nn.Hardtanh(1.0, -1.0), ValueError, "max_val"),
        (lambda: nn.Unflatten("a", (1, 2)), TypeError, "dim"),
        (lambda: nn.MSELoss(reduction="most"), ValueError, "'most'"),
        (lambda: nn.MSELoss(size_average=True), TypeError, "size_average"),
        (lambda: nn.Softmax()(minidl.zeros(2)), TypeError, "dim"),
        (lambda: nn.Linear(3, 2)(minidl.zeros(4)), ShapeError, r"\(4,\)"),
        (lambda: nn.BatchNorm2d(3)(minidl.zeros(2, 3)), ShapeError, "BatchNorm2d: wants 4"),
        (lambda: nn.BatchNorm1d(3)(minidl.zeros(2, 3, 4, 4)), ShapeError, "BatchNorm1d: wants 2 or 3"),
        (lambda: nn.BatchNorm1d(3)(minidl.zeros(2, 4)), ShapeError, "4"),
        (lambda: nn.Linear(2, 3, device="cuda"), RuntimeError, "cuda"),
    ],
)
def test_what_layers_refuse(make, error, said):
    with pytest.raises(error, match=said):
        make()


def test_factory_options():
    for layer in (nn.Linear(2, 3, dtype=minidl.float64, device="cpu"), nn.Conv2d(1, 2, 3, dtype=minidl.float64)):
        assert all(p.dtype == minidl.float64 for p in layer.parameters())
    norm = nn.BatchNorm2d(2, dtype=minidl.float64)
    assert norm.running_var.dtype == minidl.float64 and norm.num_batches_tracked.dtype == minidl.int64
    with pytest.warns(UserWarning, match="no elements"):
        assert nn.Linear(0, 3).bias.tolist() == [0, 0, 0]


def test_batch_norm_statistics():
    norm, plain = nn.BatchNorm1d(2, momentum=0.25), nn.BatchNorm1d(2, momentum=None)
    mean, var, batches = np.zeros(2), np.ones(2), []
    for _ in range(3):
        x = RNG.normal(1.0, 2.0, (5, 2)).astype("float32")
        out = norm(minidl.tensor(x)).detach().numpy()
        np.testing.assert_allclose(out, (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5), rtol=1e-4, atol=1e-5)
        plain(minidl.tensor(x))
        mean, var = 0.75 * mean + 0.25 * x.mean(0), 0.75 * var + 0.25 * x.var(0, ddof=1)
        batches.append(x)
    np.testing.assert_allclose(norm.running_mean.numpy(), mean, rtol=1e-5)
    np.testing.assert_allclose(norm.running_var.numpy(), var, rtol=1e-5)
    np.testing.assert_allclose(plain.running_var.numpy(), np.mean([b.var(0, ddof=1) for b in batches], 0), rtol=1e-5)
    assert norm.num_batches_tracked.item() == 3
    x = minidl.tensor(batches[0])
    expected = (batches[0] - mean) / np.sqrt(var + 1e-5)
    np.testing.assert_allclose(norm.eval()(x).detach().numpy(), expected, rtol=1e-4, atol=1e-5)
    assert norm.num_batches_tracked.item() == 3
    norm.reset_running_stats()
    assert norm.running_mean.tolist() == [0, 0] and norm.num_batches_tracked.item() == 0


def test_dropout_layer():
    x = minidl.ones(100, 100)
    out = nn.Dropout(0.3)(x).numpy()
    assert set(np.unique(out)) == {np.float32(0), np.float32(1 / 0.7)} and abs((out == 0).mean() - 0.3) < 0.03
    assert (nn.Dropout(0.3).eval()(x) == 1).all()


# -- initialisation and utilities


@pytest.mark.parametrize("shape", [(4, 7), (7, 4), (5, 2, 3)])
def test_orthogonal(shape):
    w = nn.init.orthogonal_(minidl.empty(*shape, dtype=minidl.float64), gain=2).numpy().reshape(shape[0], -1)
    small = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    np.testing.assert_allclose(small, 4 * np.eye(len(small)), atol=1e-12)


@pytest.mark.parametrize(("a", "b", "std"), [(-2.0, 2.0, 1.0), (-1.0, 0.5, 2.0), (1.0, 4.0, 1.0), (-1e6, 1e6, 0.1)])
def test_truncated_normal(a, b, std):
    x = nn.init.trunc_normal_(minidl.empty(200, 100, dtype=minidl.float64), 0.0, std, a, b).numpy()
    assert a <= x.min() and x.max() <= b
    grid = np.linspace(max(a, -8 * std), min(b, 8 * std), 20001)
    density = np.exp(-0.5 * (grid / std) ** 2)
    mean = (grid * density).sum() / density.sum()
    spread = np.sqrt(((grid - mean) ** 2 * density).sum() / density.sum())
    assert abs(x.mean() - mean) < 5 * spread / np.sqrt(x.size) and abs(x.std() - spread) < 0.03 * spread


def test_init_is_unrecorded_and_seeded():
    layer = nn.Linear(3, 4)
    kinds = "uniform normal trunc_normal xavier_uniform xavier_normal kaiming_uniform kaiming_normal orthogonal"
    for name in kinds.split():
        drawn = []
        for _ in range(2):
            source = minidl.Generator().manual_seed(5)
            assert getattr(nn.init, f"{name}_")(layer.weight, generator=source) is layer.weight
            drawn.append(layer.weight.detach().numpy().copy())
        np.testing.assert_array_equal(*drawn)
        assert layer.weight.is_leaf and layer.weight.requires_grad
    minidl.manual_seed(3)
    first = nn.Linear(3, 4)
    minidl.manual_seed(3)
    np.testing.assert_array_equal(first.weight.detach().numpy(), nn.Linear(3, 4).weight.detach().numpy())
    np.testing.assert_array_equal(nn.init.eye_(layer.weight).detach().numpy(), np.eye(4, 3))


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: nn.init.xavier_uniform_(minidl.empty(3)), ShapeError),
        (lambda: nn.init.orthogonal_(minidl.empty(3)), ShapeError),
        (lambda: nn.init.eye_(minidl.empty(3)), ShapeError),
        (lambda: nn.init.kaiming_normal_(minidl.empty(3, 3), mode="fan"), ValueError),
        (lambda: nn.init.calculate_gain("swish"), ValueError),
        (lambda: nn.init.calculate_gain("leaky_relu", True), ValueError),
        (lambda: nn.init.trunc_normal_(minidl.empty(3), a=2.0, b=1.0), ValueError),
        (lambda: nn.utils.vector_to_parameters(minidl.zeros(3), [minidl.zeros(2)]), ShapeError),
    ],
)
def test_what_init_and_utils_refuse(call, error):
    with pytest.raises(error):
        call()


def test_clip_grad_norm():
    p, q, unused = (nn.Parameter(minidl.zeros(2)) for _ in range(3))
    p.grad, q.grad = minidl.tensor([3.0, 0.0]), minidl.tensor([0.0, 4.0])
    before = p.grad
    total = nn.utils.clip_grad_norm_([p, q, unused], 1.0)
    assert total.item() == 5 and p.grad is before
    np.testing.assert_allclose(p.grad.numpy(), [0.6, 0], rtol=1e-5)
    assert nn.utils.clip_grad_norm_(unused, 1.0).item() == 0
    q.grad[0] = float("inf")
    kept = p.grad.numpy().copy()
    with pytest.raises(RuntimeError, match="inf"):
        nn.utils.clip_grad_norm_([p, q], 1.0, error_if_nonfinite=True)
    np.testing.assert_array_equal(p.grad.numpy(), kept)
    nn.utils.clip_grad_value_(p, 0.5)
    np.testing.assert_array_equal(p.grad.numpy(), [0.5, 0])

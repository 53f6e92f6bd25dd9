"""Optimisers: their formulas, groups, closures, hooks, states, and what is refused."""

import copy
import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minidl
from minidl import nn, optim

RNG = np.random.default_rng(0)


def param(*shape):
    return nn.Parameter(minidl.tensor(RNG.normal(size=shape)))


def steps(optimizer, p, n=4):
    """Gradients for ``n`` steps, and the parameter after each."""
    grads, path = RNG.normal(size=(n, *p.shape)), []
    for g in grads:
        p.grad = minidl.tensor(g)
        optimizer.step()
        path.append(p.detach().numpy().copy())
    return grads, path


# -- the formulas, one number at a time


def pull(x, g, o):
    """The gradient with its sign and the weight decay; of decoupled decay, the number drawn towards 0."""
    g = -g if o["maximize"] else g
    if o.get("decoupled_weight_decay"):
        return x - o["lr"] * o["weight_decay"] * x, g
    return x, g + o["weight_decay"] * x


def sgd(x, grads, o):
    v = None
    for g in grads:
        x, g = pull(x, g, o)
        v = g if v is None or not o["momentum"] else o["momentum"] * v + (1 - o["dampening"]) * g
        x -= o["lr"] * (g + o["momentum"] * v if o["nesterov"] else v)
        yield x


def adam(x, grads, o):
    m = v = largest = 0.0
    b1, b2 = o["betas"]
    for t, g in enumerate(grads, 1):
        x, g = pull(x, g, o)
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        largest = max(largest, v)
        x -= o["lr"] * (m / (1 - b1**t)) / (math.sqrt((largest if o["amsgrad"] else v) / (1 - b2**t)) + o["eps"])
        yield x


def adagrad(x, grads, o):
    s = o["initial_accumulator_value"]
    for t, g in enumerate(grads, 1):
        x, g = pull(x, g, o)
        s += g**2
        x -= o["lr"] / (1 + (t - 1) * o["lr_decay"]) * g / (math.sqrt(s) + o["eps"])
        yield x


def rmsprop(x, grads, o):
    v = m = b = 0.0
    for g in grads:
        x, g = pull(x, g, o)
        v, m = o["alpha"] * v + (1 - o["alpha"]) * g**2, o["alpha"] * m + (1 - o["alpha"]) * g
        b = o["momentum"] * b + g / (math.sqrt(v - m**2 if o["centered"] else v) + o["eps"])
        x -= o["lr"] * b
        yield x


def adadelta(x, grads, o):
    v = u = 0.0
    for g in grads:
        x, g = pull(x, g, o)
        v = o["rho"] * v + (1 - o["rho"]) * g**2
        d = math.sqrt(u + o["eps"]) / math.sqrt(v + o["eps"]) * g
        u = o["rho"] * u + (1 - o["rho"]) * d**2
        x -= o["lr"] * d
        yield x


def adamax(x, grads, o):
    m = u = 0.0
    b1, b2 = o["betas"]
    for t, g in enumerate(grads, 1):
        x, g = pull(x, g, o)
        m, u = b1 * m + (1 - b1) * g, max(b2 * u, abs(g) + o["eps"])
        x -= o["lr"] / (1 - b1**t) * m / u
        yield x


def nadam(x, grads, o):
    m = v = 0.0
    b1, b2 = o["betas"]
    mus = [b1 * (1 - 0.96 ** (t * o["momentum_decay"]) / 2) for t in range(1, len(grads) + 2)]
    for t, g in enumerate(grads, 1):
        x, g = pull(x, g, o)
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        mean = mus[t] * m / (1 - math.prod(mus[: t + 1])) + (1 - mus[t - 1]) * g / (1 - math.prod(mus[:t]))
        x -= o["lr"] * mean / (math.sqrt(v / (1 - b2**t)) + o["eps"])
        yield x


def radam(x, grads, o):
    m = v = 0.0
    b1, b2 = o["betas"]
    rho = 2 / (1 - b2) - 1
    for t, g in enumerate(grads, 1):
        x, g = pull(x, g, o)
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        r = rho - 2 * t * b2**t / (1 - b2**t)
        d = o["lr"] * m / (1 - b1**t)
        if r > 5:
            d *= math.sqrt((r - 4) * (r - 2) * rho / ((rho - 4) * (rho - 2) * r))
            d *= math.sqrt(1 - b2**t) / (math.sqrt(v) + o["eps"])
        x -= d
        yield x


def between(low, high):
    return st.floats(low, high, allow_subnormal=False)


BETAS = {"betas": st.tuples(between(0, 0.99), between(0, 0.999))}
EPS = between(1e-8, 1e-1)
FORMULAS = {
    "SGD": (sgd, {"momentum": between(0, 1), "dampening": between(0, 1), "nesterov": st.just(False)}),
    "Adam": (adam, {**BETAS, "eps": EPS, "amsgrad": st.booleans(), "decoupled_weight_decay": st.booleans()}),
    "Adagrad": (adagrad, {"lr_decay": between(0, 1), "initial_accumulator_value": between(0, 1), "eps": EPS}),
    "RMSprop": (rmsprop, {"alpha": between(0, 0.99), "eps": EPS, "momentum": between(0, 1), "centered": st.booleans()}),
    "Adadelta": (adadelta, {"rho": between(0, 0.999), "eps": EPS}),
    "Adamax": (adamax, {**BETAS, "eps": EPS}),
    "NAdam": (nadam, {**BETAS, "eps": EPS, "momentum_decay": between(0, 1), "decoupled_weight_decay": st.booleans()}),
    "RAdam": (radam, {**BETAS, "eps": EPS, "decoupled_weight_decay": st.booleans()}),
}


@pytest.mark.parametrize("name", FORMULAS)
@given(data=st.data())
def test_formula(name, data):
    formula, kinds = FORMULAS[name]
    kinds = {**kinds, "lr": between(0, 1), "weight_decay": between(0, 0.5), "maximize": st.booleans()}
    chosen = data.draw(st.fixed_dictionaries(kinds))
    if name == "SGD" and chosen["momentum"] and not chosen["dampening"]:
        chosen["nesterov"] = data.draw(st.booleans())
    if name == "RMSprop" and chosen["centered"]:
        chosen["alpha"] = max(chosen["alpha"], 0.3)  # else v - m**2 may be nothing but rounding
    grads = data.draw(st.lists(st.lists(between(-5, 5), min_size=2, max_size=2), min_size=1, max_size=8))
    start = data.draw(st.lists(between(-2, 2), min_size=2, max_size=2))
    p = nn.Parameter(minidl.tensor(start, dtype=minidl.float64))
    optimizer, path = getattr(optim, name)([p], **chosen), []
    minidl.set_default_dtype(minidl.float64)  # in which NAdam keeps its product
    try:
        for g in grads:
            p.grad = minidl.tensor(g, dtype=minidl.float64)
            optimizer.step()
            path.append(p.tolist())
    finally:
        minidl.set_default_dtype(minidl.float32)
    wanted = zip(*(formula(x, [g[i] for g in grads], chosen) for i, x in enumerate(start)))
    np.testing.assert_allclose(path, [*wanted], rtol=1e-9, atol=1e-9)


def test_adamw_is_adam_with_decoupled_decay():
    p, q = param(3), param(3)
    q.data = p.detach().clone()
    grads, path = steps(optim.AdamW([p], 0.1, (0.8, 0.9), 1e-4, 0.2), p)
    other = optim.Adam([q], 0.1, (0.8, 0.9), 1e-4, 0.2, decoupled_weight_decay=True)
    for g, found in zip(grads, path):
        q.grad = minidl.tensor(g)
        other.step()
        np.testing.assert_array_equal(q.detach().numpy(), found)


def test_large_arrays_are_stepped_in_blocks():
    """As the small ones are, whatever their order in memory."""
    for name in FORMULAS:
        options = {"centered": True, "momentum": 0.5, "eps": 1e-2} if name == "RMSprop" else {}
        values, g = RNG.normal(size=(2, 257, 1031))
        for order in ("C", "F"):
            large = nn.Parameter(minidl.tensor(np.asarray(values, order=order)))
            small = nn.Parameter(minidl.tensor(values[:2]))
            optimizers = [getattr(optim, name)([p], **options) for p in (large, small)]
            for _ in range(3):
                for p, optimizer in zip((large, small), optimizers):
                    p.grad = minidl.tensor(np.asarray(g[: len(p)], order=order))
                    optimizer.step()
            np.testing.assert_allclose(large.detach().numpy()[:2], small.detach().numpy(), rtol=1e-12)
            assert (large.detach().numpy() != values).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda p: optim.SGD(p, lr=0.05, momentum=0.5),
        lambda p: optim.Adam(p, lr=0.1),
        lambda p: optim.AdamW(p, lr=0.1),
        lambda p: optim.Adagrad(p, lr=0.5),
        lambda p: optim.RMSprop(p, lr=0.02),
        lambda p: optim.Adadelta(p, lr=20.0),
        lambda p: optim.Adamax(p, lr=0.1),
        lambda p: optim.NAdam(p, lr=0.1),
        lambda p: optim.RAdam(p, lr=0.1),
    ],
)
def test_they_find_a_minimum(make):
    p, target = param(3), minidl.tensor([1.0, -2.0, 3.0], dtype=minidl.float64)
    optimizer = make([p])
    for _ in range(300):
        optimizer.zero_grad()
        loss = ((p - target) ** 2).sum()
        loss.backward()
        optimizer.step()
    assert loss.item() < 1e-2


def test_groups():
    a, b, c = param(2), param(2), param(2)
    optimizer = optim.SGD([{"params": a, "lr": 0.5}, {"params": [b]}], lr=0.1, momentum=0.9)
    optimizer.add_param_group({"params": iter([c]), "momentum": 0})
    assert [(g["lr"], g["momentum"]) for g in optimizer.param_groups] == [(0.5, 0.9), (0.1, 0.9), (0.1, 0)]
    before = [p.detach().numpy().copy() for p in (a, b, c)]
    for p in (a, b):
        p.grad = minidl.ones(2, dtype=minidl.float64)
    optimizer.step()
    for p, start, moved in zip((a, b, c), before, (0.5, 0.1, 0)):
        np.testing.assert_allclose(p.detach().numpy(), start - moved)
    assert list(optimizer.state_dict()["state"]) == [0, 1]


def test_zero_grad_and_closure():
    p = param(2)
    optimizer = optim.SGD([p], lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    before = (p.detach() ** 2).sum().item()
    with minidl.no_grad():
        assert optimizer.step(closure).item() == pytest.approx(before)
    assert optimizer.step() is None
    optimizer.zero_grad(set_to_none=False)
    assert p.grad.tolist() == [0, 0]
    optimizer.zero_grad()
    assert p.grad is None


def test_a_step_is_a_change_in_place():
    p = param(2)
    where = p.detach().numpy()
    out = (p * p).sum()
    p.grad = minidl.ones(2, dtype=minidl.float64)
    optim.SGD([p], lr=0.1).step()
    assert p.detach().numpy() is where and p.is_leaf and p.grad_fn is None
    with pytest.raises(RuntimeError, match=r"changed in place by SGD.step \(.*test_optim.py:\d+\)"):
        out.backward()


@pytest.mark.parametrize(
    "make",
    [
        lambda p: optim.SGD(p, lr=0.1, momentum=0.9),
        lambda p: optim.Adam(p, amsgrad=True),
        optim.AdamW,
        optim.Adagrad,
        lambda p: optim.RMSprop(p, momentum=0.9, centered=True, eps=0.1),
        optim.Adadelta,
        optim.Adamax,
        optim.RAdam,
    ],
)
def test_state_goes_on(make):
    p = param(3)
    first = make([p])
    steps(first, p)
    q, r = copy.deepcopy(p), copy.deepcopy(p)
    second, third = make([q]), make([r])
    second.load_state_dict(pickle.loads(pickle.dumps(first.state_dict())))
    state = first.state_dict()
    state["state"] = {i: dict(reversed(kept.items())) for i, kept in state["state"].items()}  # no order is relied on
    third.load_state_dict(state)
    for name, kept in first.state[p].items():
        assert not np.shares_memory(third.state[r][name].numpy(), kept.numpy())
    grads = RNG.normal(size=(3, 3))
    for g in grads:
        for optimizer, x in ((first, p), (second, q), (third, r)):
            x.grad = minidl.tensor(g)
            optimizer.step()
    for x in (q, r):
        np.testing.assert_array_equal(p.detach().numpy(), x.detach().numpy())


def test_state_takes_the_dtype_of_the_parameter():
    p = param(3)
    optimizer = optim.Adam([p])
    steps(optimizer, p)
    q = nn.Parameter(minidl.zeros(3))
    other = optim.Adam([q])
    other.load_state_dict(optimizer.state_dict())
    assert other.state[q]["exp_avg"].dtype == minidl.float32 and other.state[q]["step"].item() == 4


def test_state_that_does_not_fit_is_refused_whole():
    p, q = param(3), param(2)
    optimizer = optim.SGD([p, q], lr=0.1, momentum=0.9)
    steps(optimizer, p)
    good = optimizer.state_dict()
    for change, said in (
        (lambda s: s["param_groups"].append({**s["param_groups"][0], "params": [2]}), r"have \[2, 1\] parameters, .* \[2\]"),
        (lambda s: s["param_groups"][0].pop("momentum"), "group 0 lacks 'momentum'"),
        (lambda s: s["state"].update({7: {}}), "parameter 7"),
        (lambda s: s["state"][0].update(momentum_buffer=minidl.zeros(4)), r"parameter 0: 'moment.* has shape \(4,\).* \(3,\)"),
        (lambda s: s["state"][0].update(momentum_buffer=minidl.zeros(())), r"parameter 0: .* has shape \(\).* \(3,\)"),
        (lambda s: s["state"][0].update(momentum_buffer=0.5), "parameter 0: 'momentum_buffer' is no tensor, but 0.5"),
        (lambda s: s["state"].update({0: {"momentum": 0.5}}), "parameter 0: there is no 'momentum_buffer'"),
        (lambda s: s["state"].update({0: 5}), "parameter 0: its state is no dict, but 5"),
        (lambda s: s["param_groups"][0].pop("params"), "no list of groups with 'params'"),
    ):
        bad = copy.deepcopy(good)
        change(bad)
        other = optim.SGD([p, q], lr=0.5)
        with pytest.raises(ValueError, match=said):
            other.load_state_dict(bad)
        assert other.param_groups[0]["lr"] == 0.5 and not other.state
    with pytest.raises(ValueError, match="lacks 'betas', 'eps'"):
        optim.Adam([p, q]).load_state_dict(good)


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda p: optim.SGD(p), TypeError, "one Tensor"),
        (lambda p: optim.SGD([]), ValueError, "empty"),
        (lambda p: optim.SGD([p.numpy(force=True)]), TypeError, "ndarray"),
        (lambda p: optim.SGD([("name", p), param(2)]), ValueError, "names or none, here 1 do"),
        (lambda p: optim.SGD([{"params": [("name", p)]}, {"params": [param(2)]}]), ValueError, "names or none"),
        (lambda p: optim.SGD([("name", 1)]), TypeError, "int"),
        (lambda p: optim.SGD([{"lr": 1}]), KeyError, "params"),
        (lambda p: optim.SGD([p], lr=minidl.tensor(0.1)), TypeError, r"lr must be a number, got a Tensor; write lr.item\(\)"),
        (lambda p: optim.SGD([{"params": [p], "lr": minidl.tensor(0.1)}]), TypeError, "lr must be a number"),
        (lambda p: optim.SGD([p * 2]), ValueError, "leaf"),
        (lambda p: optim.SGD([{"params": {p}}]), TypeError, "set"),
        (lambda p: optim.SGD([{"params": [p]}, {"params": [p]}]), ValueError, "more than one group"),
        (lambda p: optim.SGD([{"params": [p]}, p]), TypeError, "dict"),
        (lambda p: optim.SGD([p], lr=-1), ValueError, "lr must not be negative, got -1"),
        (lambda p: optim.SGD([p], momentum=-1), ValueError, "momentum"),
        (lambda p: optim.SGD([p], weight_decay=float("nan")), ValueError, "weight_decay"),
        (lambda p: optim.SGD([p], nesterov=True), ValueError, "nesterov"),
        (lambda p: optim.SGD([p], momentum=0.9, dampening=0.1, nesterov=True), ValueError, "nesterov"),
        (lambda p: optim.SGD([p], foreach=True), NotImplementedError, "foreach=True"),
        (lambda p: optim.SGD([p], fused=True), NotImplementedError, "fused"),
        (lambda p: optim.SGD([p], differentiable=True), NotImplementedError, "differentiable"),
        (lambda p: optim.AdamW([p], capturable=True), NotImplementedError, "AdamW: capturable"),
        (lambda p: optim.Adam([p], betas=(1.0, 0.9)), ValueError, "betas"),
        (lambda p: optim.Adam([p], betas=(0.9,)), ValueError, "betas"),
        (lambda p: optim.Adam([p], eps=-1), ValueError, "eps"),
    ],
)  # fmt: skip
def test_what_is_refused(call, error, said):
    with pytest.raises(error, match=said):
        call(param(2))


@pytest.mark.parametrize("name", ["SGD", "AdamW", *FORMULAS])
def test_every_number_is_checked(name):
    """Negative ones and NaN are refused, and tensors; and what PyTorch does elsewhere, on a graphics card or all at once."""
    make = getattr(optim, name)
    for option, default in make([param(1)]).defaults.items():
        bad = [-1.0, math.nan, minidl.tensor(0.5)] if type(default) in (int, float) and option != "dampening" else []
        bad = [(-0.1, 0.9), (0.9, 1.0), (0.9,), (math.nan, 0.9)] if option == "betas" else bad
        bad = [True] if option in ("foreach", "fused", "capturable", "differentiable") else bad
        for value in bad:
            with pytest.raises((ValueError, TypeError, NotImplementedError), match=f"{name}: {option}"):
                make([param(1)], **{option: value})
        if bad == [True]:
            make([param(1)], **{option: False})
    with pytest.raises(ValueError, match="rho must lie between 0 and 1, got 1.5"):
        optim.Adadelta([param(1)], rho=1.5)


def test_parameters_with_names():
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1, bias=False))
    optimizer = optim.SGD(net.named_parameters(), lr=0.1)
    assert optimizer.param_groups[0]["params"] == [*net.parameters()]
    saved = optimizer.state_dict()
    assert saved["param_groups"][0]["param_names"] == ["0.weight", "0.bias", "1.weight"]
    assert "param_names: ['0.weight', '0.bias', '1.weight']" in repr(optimizer)
    other = optim.SGD([("a", param(3, 2)), ("b", param(3)), ("c", param(1, 3))])
    del saved["param_groups"][0]["param_names"]
    other.load_state_dict(saved)  # names of its own stay
    assert other.param_groups[0]["param_names"] == ["a", "b", "c"] and other.param_groups[0]["lr"] == 0.1
    other.load_state_dict(optimizer.state_dict())
    assert other.param_groups[0]["param_names"][0] == "0.weight"
    plain = optim.SGD([param(3, 2), param(3), param(1, 3)])
    plain.load_state_dict(optimizer.state_dict())
    assert plain.param_groups[0]["param_names"][0] == "0.weight"


def test_a_group_that_was_added_later_starts_anew():
    p, q = param(2), param(2)
    optimizer = optim.Adagrad([p], lr=0.5, initial_accumulator_value=3.0)
    assert optimizer.state_dict()["state"][0]["sum"].tolist() == [3, 3]
    optimizer.add_param_group(
        {"params": [q], "initial_accumulator_value": 7.0}
    )  # which is the whole optimiser's, as in PyTorch
    start = q.detach().numpy().copy()
    q.grad = minidl.ones(2, dtype=minidl.float64)
    optimizer.step()
    np.testing.assert_allclose(q.detach().numpy(), start - 0.5 / 2)


def test_hooks():
    p = param(2)
    optimizer, seen = optim.SGD([p], lr=0.5), []
    start = p.tolist()
    p.grad = minidl.ones(2, dtype=minidl.float64)
    before = optimizer.register_step_pre_hook(lambda *args: seen.append(("before", args, p.tolist())))
    after = optimizer.register_step_post_hook(lambda *args: seen.append(("after", args, p.tolist())))
    optimizer.step()
    given = (optimizer, (optimizer,), {})
    assert seen == [("before", given, start), ("after", given, [x - 0.5 for x in start])]
    with pytest.raises(NotImplementedError, match="closure"):
        optimizer.step(lambda: 1.0)
    pickle.dumps(optimizer)  # without the hooks
    before.remove()
    after.remove()
    optimizer.step()
    assert len(seen) == 2 and optimizer.step(lambda: 1.0) == 1.0
    optimizer.register_step_pre_hook(lambda *_: ((optimizer,), {}))
    now = p.tolist()
    with pytest.raises(NotImplementedError, match="a hook must return None"):
        optimizer.step()
    assert p.tolist() == now


def test_hooks_of_a_compiled_step():
    p = param(2)
    optimizer, seen = optim.SGD([p], lr=0.5), []

    @minidl.compile
    def step(x):
        loss = (p * x).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    for i in range(6):
        if i == 4:  # long after it was compiled
            optimizer.register_step_post_hook(lambda *_: seen.append(p.tolist()))
        step(minidl.ones(2, dtype=minidl.float64))
    assert "steps became" in minidl.compiler.explain(step) and len(seen) == 2


def test_twice_in_a_group_is_warned_of():
    p = param(2)
    with pytest.warns(UserWarning, match="twice"):
        optim.SGD([p, p])


def test_an_optimiser_of_ones_own():
    class Sign(optim.Optimizer):
        def __init__(self, params, lr):
            super().__init__(params, {"lr": lr})

        def update(self, param, grad, state, group):
            param -= group["lr"] * np.sign(grad)
            state["count"] = state.get("count", 0) + 1

    p = param(3)
    start, optimizer = p.detach().numpy().copy(), Sign([p], 0.5)
    (g,), (found,) = steps(optimizer, p, 1)
    np.testing.assert_allclose(found, start - 0.5 * np.sign(g))
    assert optimizer.state_dict() == {"state": {0: {"count": 1}}, "param_groups": [{"lr": 0.5, "params": [0]}]}
    with pytest.raises(NotImplementedError, match="Optimizer has no update"):
        steps(optim.Optimizer([p], {}), p)


def test_what_is_no_parameters_or_no_state_is_named():
    net = nn.Linear(1, 1)
    with pytest.raises(TypeError, match=r"SGD: params .* got Linear; .*module.parameters\(\)"):
        optim.SGD(net, lr=0.1)
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    for wrong, error in (({}, ValueError), (net.state_dict(), ValueError), (5, TypeError), (None, TypeError)):
        with pytest.raises(error, match="load_state_dict: wants what SGD.state_dict"):
            optimizer.load_state_dict(wrong)


@pytest.mark.parametrize("make", [optim.Adam, optim.Adagrad, optim.RMSprop, optim.NAdam, optim.Adamax])
def test_a_state_that_lacks_something_is_refused(make):
    p = param(3)
    optimizer = make([p])
    steps(optimizer, p)
    state = optimizer.state_dict()
    for name in state["state"][0]:
        for kept, said in (({}, "is no"), ({name: minidl.zeros(7)}, "has shape")):
            damaged = {0: {**{n: v for n, v in state["state"][0].items() if n != name}, **kept}}
            with pytest.raises(ValueError, match=f"parameter 0: .*{said}.*"):
                make([p]).load_state_dict({**state, "state": damaged})

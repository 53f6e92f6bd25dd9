"""Optimisers: their formulas, groups, closures, hooks, states, and what is refused."""

import copy
import pickle

import numpy as np
import pytest

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


def test_sgd_by_hand():
    p = param(3)
    x, v = p.detach().numpy().copy(), 0.0
    for i, (g, found) in enumerate(zip(*steps(optim.SGD([p], lr=0.1, momentum=0.9, weight_decay=0.2, dampening=0.5), p))):
        g = g + 0.2 * x
        v = g if i == 0 else 0.9 * v + 0.5 * g
        x = x - 0.1 * v
        np.testing.assert_allclose(found, x, rtol=1e-12)


@pytest.mark.parametrize("decoupled", [False, True])
def test_adam_by_hand(decoupled):
    p = param(3)
    x, m, v = p.detach().numpy().copy(), 0.0, 0.0
    make = optim.AdamW if decoupled else optim.Adam
    for t, (g, found) in enumerate(zip(*steps(make([p], 0.1, (0.8, 0.9), 1e-4, weight_decay=0.2), p)), start=1):
        if decoupled:
            x = x - 0.1 * 0.2 * x
        else:
            g = g + 0.2 * x
        m, v = 0.8 * m + 0.2 * g, 0.9 * v + 0.1 * g**2
        x = x - 0.1 * (m / (1 - 0.8**t)) / (np.sqrt(v / (1 - 0.9**t)) + 1e-4)
        np.testing.assert_allclose(found, x, rtol=1e-12)


@pytest.mark.parametrize(
    "make", [lambda p: optim.SGD(p, lr=0.05, momentum=0.5), lambda p: optim.Adam(p, lr=0.1), lambda p: optim.AdamW(p, lr=0.1)]
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
    "make", [lambda p: optim.SGD(p, lr=0.1, momentum=0.9), lambda p: optim.Adam(p, amsgrad=True), optim.AdamW]
)
def test_state_goes_on(make):
    p = param(3)
    first = make([p])
    steps(first, p)
    q = copy.deepcopy(p)
    second = make([q])
    second.load_state_dict(pickle.loads(pickle.dumps(first.state_dict())))
    grads = RNG.normal(size=(3, 3))
    for g in grads:
        for optimizer, x in ((first, p), (second, q)):
            x.grad = minidl.tensor(g)
            optimizer.step()
    np.testing.assert_array_equal(p.detach().numpy(), q.detach().numpy())
    third = make([q])
    third.load_state_dict(first.state_dict())
    for own, kept in zip(third.state[q].values(), first.state[p].values()):
        assert not np.shares_memory(own.numpy(), kept.numpy())


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
        (lambda s: s["state"][0].update(momentum_buffer=minidl.zeros(4)), r"_buffer' of parameter 0 has shape \(4,\).* \(3,\)"),
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
    for wrong in ({}, net.state_dict()):
        with pytest.raises(ValueError, match="load_state_dict: wants what SGD.state_dict"):
            optimizer.load_state_dict(wrong)

"""Activation checkpointing: the same numbers with less remembered, and what it finds out."""

import gc
import weakref

import numpy as np
import pytest

import minidl
import minidl.nn.functional as F
from minidl import nn
from minidl.autograd.op import OpNode
from minidl.utils.checkpoint import checkpoint, checkpoint_sequential


def net(dropout=0.0):
    minidl.manual_seed(0)
    layers = [nn.Linear(4, 6), nn.Tanh(), nn.Dropout(dropout), nn.Linear(6, 6), nn.ReLU(inplace=True), nn.Linear(6, 3)]
    return nn.Sequential(*layers).double()


def gradients(forward, model, **options):
    """Of a loss on fixed numbers: of the input, and of all parameters."""
    minidl.manual_seed(1)
    x = minidl.randn(5, 4, dtype=minidl.float64, requires_grad=True)
    loss = forward(model, x).square().sum()
    loss.backward(**options)
    found = [x.grad, *(p.grad for p in model.parameters())]
    model.zero_grad()
    return [g.numpy() for g in found]


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize(
    "forward",
    [
        lambda model, x: checkpoint(model, x, use_reentrant=False),
        lambda model, x: checkpoint_sequential(model, 3, x, use_reentrant=False),
        lambda model, x: model[3:](checkpoint(lambda *, y: model[:3](y), y=x)),
        lambda model, x: checkpoint(lambda y: checkpoint(model[3:], checkpoint(model[:3], y)), x),
    ],
)
def test_the_same_bits(forward, dropout):
    model = net(dropout)
    for a, b in zip(gradients(lambda model, x: model(x), model), gradients(forward, model)):
        assert np.array_equal(a, b)


def test_less_is_remembered():
    model, x = net(), minidl.randn(5, 4, dtype=minidl.float64, requires_grad=True)

    def kept(out):
        nodes = minidl.autograd.sweep.reachable([out.grad_fn])
        return [node for node in nodes if isinstance(node, OpNode) and node.kept]

    assert len(kept(model(x))) > 3 and kept(checkpoint(model, x)) == []


def test_nothing_stays_behind():
    """No cycle holds what is not needed any more."""
    model, x = net(), minidl.randn(5, 4, dtype=minidl.float64, requires_grad=True)
    gc.collect()
    gc.disable()
    try:
        hidden = x * 2
        array = weakref.ref(hidden)
        out = checkpoint(model, hidden)
        del hidden
        assert array() is not None
        del out
        assert array() is None
    finally:
        gc.enable()


def test_several_results_and_outside_tensors():
    w = minidl.randn(3, dtype=minidl.float64, requires_grad=True)
    outside = w * 3  # used inside without being given

    def two(x):
        return {"a": x * outside, "b": [(x + w).exp(), x]}

    def loss(out):
        return (out["a"] * out["b"][0]).sum() + out["b"][1].sum()

    x = minidl.randn(3, dtype=minidl.float64, requires_grad=True)
    plain = minidl.autograd.grad(loss(two(x)), [x, w], retain_graph=True)
    again = minidl.autograd.grad(loss(checkpoint(two, x)), [x, w], retain_graph=True)
    assert all(np.array_equal(a.numpy(), b.numpy()) for a, b in zip(plain, again))
    only = checkpoint(two, x)["b"][0]  # the other result is not there any more
    assert np.array_equal(minidl.autograd.grad(only.sum(), x)[0].numpy(), (x + w).exp().detach().numpy())


def test_order_two():
    x = minidl.randn(5, 4, dtype=minidl.float64, requires_grad=True)
    model = net()

    def second(forward):
        (g,) = minidl.autograd.grad(forward(x).square().sum(), x, create_graph=True)
        return minidl.autograd.grad(g.square().sum(), [x, model[0].weight])

    for a, b in zip(second(model), second(lambda x: checkpoint(model, x))):
        assert np.array_equal(a.numpy(), b.numpy())


class Cube(minidl.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        ctx.power = 3
        return x**3

    @staticmethod
    def backward(ctx, g):
        return g * ctx.power * ctx.saved_tensors[0] ** 2


def test_functions_of_ones_own():
    x = minidl.randn(4, dtype=minidl.float64, requires_grad=True)
    assert np.allclose(minidl.autograd.grad(checkpoint(Cube.apply, x * 1).sum(), x)[0].numpy(), 3 * x.detach().numpy() ** 2)


def test_random_numbers_go_on():
    model = net(0.5)
    minidl.manual_seed(5)
    model(minidl.zeros(5, 4, dtype=minidl.float64))
    expected = minidl.rand(3).tolist()
    minidl.manual_seed(5)
    checkpoint(model, minidl.zeros(5, 4, dtype=minidl.float64)).sum().backward()
    assert minidl.rand(3).tolist() == expected
    minidl.manual_seed(5)
    x = minidl.ones(1000, requires_grad=True)
    out = checkpoint(F.dropout, x, preserve_rng_state=False)
    out.sum().backward()
    assert not np.array_equal(x.grad.numpy(), out.detach().numpy()), "another mask, as asked for"


def test_what_it_finds_out():
    x = minidl.randn(4, requires_grad=True)
    hidden = x * 1
    out = checkpoint(lambda t: t.exp(), hidden)
    with minidl.no_grad():
        hidden.add_(1)
    with pytest.raises(RuntimeError, match="argument of shape .4,. was changed in place by add_"):
        out.sum().backward()
    w = minidl.ones(4, requires_grad=True)
    out = checkpoint(lambda t: t * w, x)
    with minidl.no_grad():
        w.mul_(2)
    with pytest.raises(RuntimeError, match="changed in place by mul_"):
        out.sum().backward()
    calls = []

    def other(t):
        calls.append(1)
        return t.exp() if len(calls) == 1 else t.exp().sin()

    with pytest.raises(RuntimeError, match="1 operations at first and 2"):
        checkpoint(other, x).sum().backward()
    calls.clear()
    with pytest.raises(RuntimeError, match="made exp .* at first and sin"):
        checkpoint(lambda t: calls.append(1) or (t.exp() if len(calls) == 1 else t.sin()), x).sum().backward()
    out = checkpoint(lambda t: t.exp(), x).sum()
    out.backward()
    with pytest.raises(RuntimeError, match="already swept"):
        out.backward()


def test_arguments():
    x = minidl.ones(2, requires_grad=True)
    for option in ({"use_reentrant": True}, {"context_fn": print}, {"debug": True}):
        with pytest.raises(NotImplementedError, match=next(iter(option))):
            checkpoint(minidl.exp, x, **option)
    with pytest.raises(ValueError, match="determinism_check"):
        checkpoint(minidl.exp, x, determinism_check="often")
    with pytest.raises(ValueError, match="segments"):
        checkpoint_sequential([minidl.exp], 2, x)
    with pytest.raises(ValueError, match="Unexpected keyword arguments: often"):
        checkpoint_sequential([minidl.exp], 1, x, often=True)
    with minidl.no_grad():
        assert not checkpoint(minidl.exp, x).requires_grad


@pytest.mark.filterwarnings("ignore::minidl.CompileWarning")
def test_compiled():
    model, x = net(), minidl.randn(5, 4, dtype=minidl.float64)
    compiled = minidl.compile(lambda x: checkpoint(model, x))
    expected = minidl.autograd.grad(model(x).sum(), model[0].weight)[0].numpy()
    for _ in range(3):
        assert np.array_equal(minidl.autograd.grad(compiled(x).sum(), model[0].weight)[0].numpy(), expected)
    inside = minidl.compile(model)
    for _ in range(4):
        got = minidl.autograd.grad(checkpoint(inside, x).sum(), model[0].weight)[0].numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-12)

"""Padding and resizing beside PyTorch: values, gradients and refusals over random geometries."""

import itertools
import random

import numpy as np
import pytest

import minidl

torch = pytest.importorskip("torch")


def outcome(lib, call, a):
    """The values and the gradient of ``call(lib, tensor)``, or the error it raises."""
    x = lib.tensor(a, requires_grad=True)
    try:
        out = call(lib, x)
    except Exception as error:
        return error
    g = np.random.default_rng(5).normal(size=tuple(out.shape)).astype(a.dtype)
    (grad,) = lib.autograd.grad(out, x, lib.tensor(g))
    return out.detach().numpy(), grad.numpy()


def both(call, a, said="", rtol=1e-12):
    """The same numbers or, in kind, the same refusal in both libraries; whether there were numbers."""
    ours, theirs = outcome(minidl, call, a), outcome(torch, call, a)
    if isinstance(theirs, Exception) or isinstance(ours, Exception):
        assert isinstance(ours, type(theirs)), f"{said}: {ours!r}, PyTorch {theirs!r}"
        return False
    for got, want in zip(ours, theirs):
        np.testing.assert_allclose(got, want, rtol, rtol, err_msg=said)
    return True


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
def test_pad(mode):
    rng, n_padded = random.Random(mode), 0
    for _ in range(600):
        shape = tuple(rng.choice([1, 2, 3, 4, 4]) for _ in range(rng.choice([1, 2, 3, 3, 4, 4, 5])))
        pad = tuple(rng.choice([-2, -1, 0, 0, 1, 1, 2, 3]) for _ in range(rng.choice([0, 2, 2, 3, 4, 4, 6, 8])))
        pairs = list(zip(reversed(shape), zip(pad[::2], pad[1::2])))
        if mode == "circular" and any(max(e) > max(n + min(e[0], 0) + min(e[1], 0), 0) for n, e in pairs):
            continue  # wraps around what it is still writing, or is refused
        if any(n + sum(e) == 0 for n, e in pairs):
            continue  # no elements, and in PyTorch no gradient that means anything
        value = rng.choice([None, None, 0, 0.5])
        a = np.random.default_rng(0).normal(size=shape)
        n_padded += both(lambda lib, x, p=pad, v=value: lib.nn.functional.pad(x, p, mode, v), a, f"{shape} {pad} {value}")
    assert n_padded > 50


PADS = ["ConstantPad", "ZeroPad", "ReflectionPad", "ReplicationPad", "CircularPad"]


@pytest.mark.parametrize(("name", "n_dims"), list(itertools.product(PADS, (1, 2))))
def test_pad_modules(name, n_dims):
    def layer(lib, padding):
        return getattr(lib.nn, f"{name}{n_dims}d")(padding, *([3.5] if name == "ConstantPad" else []))

    for padding in (2, (1, 2, 0, 3)[: 2 * n_dims], [1, 1, 1, 1][: 2 * n_dims]):
        assert repr(layer(minidl, padding)) == repr(layer(torch, padding))
        for shape in ((2, 4, 5), (1, 2, 4, 5), (4, 5), (5,)):
            both(lambda lib, x, p=padding: layer(lib, p)(x), np.random.default_rng(0).normal(size=shape), f"{shape} {padding}")

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


def scaled(seed, n_dims, modes, count):
    """Shapes and arguments of `interpolate`."""
    rng = random.Random(seed)
    for i in range(count):
        shape = (rng.randint(1, 2), rng.randint(2, 3), *(rng.randint(1, rng.choice([6, 40])) for _ in range(n_dims)))
        factors = [rng.choice([2, 3, 0.5, 1.5, 2.0, round(rng.uniform(0.2, 4), 3), rng.uniform(0.2, 5)]) for _ in range(n_dims)]
        options = {"mode": rng.choice(modes)}
        if rng.random() < 0.5:
            options["size"] = rng.randint(1, 50) if rng.random() < 0.4 else tuple(rng.randint(1, 50) for _ in range(n_dims))
        else:
            options["scale_factor"] = factors[0] if rng.random() < 0.5 else tuple(factors)
            if options["mode"] == "area" and min(factors) * min(shape[2:]) < 1:
                continue  # an empty picture, with which PyTorch's backward does not agree
        if "linear" in options["mode"] or rng.random() < 0.05:
            options["align_corners"] = rng.choice([None, True, False])
        if rng.random() < 0.2:
            options["recompute_scale_factor"] = rng.choice([True, False])
        yield np.random.default_rng(i).normal(size=shape).astype(rng.choice(["float32", "float64"])), options


@pytest.mark.parametrize(
    ("n_dims", "modes"),
    [(1, ["nearest", "nearest-exact", "linear", "area"]), (2, ["nearest", "nearest-exact", "bilinear", "area"])],
)
def test_interpolate(n_dims, modes):
    done = 0
    for a, options in scaled(n_dims, n_dims, modes, 400):
        if "nearest" in options["mode"]:  # where PyTorch's backward rounds otherwise than its forward
            found = [
                outcome(lib, lambda lib, x, o=options: lib.nn.functional.interpolate(x, **o), a) for lib in (minidl, torch)
            ]
            if not isinstance(found[1], Exception):
                np.testing.assert_array_equal(found[0][0], found[1][0], err_msg=f"{a.shape} {a.dtype} {options}")
                done += 1
                continue
        rtol = 3e-5 if a.dtype == np.float32 else 1e-11
        done += both(lambda lib, x, o=options: lib.nn.functional.interpolate(x, **o), a, f"{a.shape} {a.dtype} {options}", rtol)
    assert done > 200


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "bilinear"])
def test_interpolate_by_whole_factors(mode):
    for factor, shape in itertools.product((1, 2, 3, 4, 0.5), ((1, 2, 5, 4), (2, 3, 1, 7), (0, 2, 4, 4))):
        a = np.random.default_rng(0).normal(size=shape)
        both(
            lambda lib, x, f=factor: lib.nn.functional.interpolate(x, scale_factor=f, mode=mode), a, f"{shape} {factor}", 1e-11
        )


def test_interpolate_refuses_what_pytorch_refuses():
    a = np.ones((1, 2, 3, 4))
    for options in (
        {},
        {"size": 2, "scale_factor": 2},
        {"size": (1, 2, 3)},
        {"scale_factor": (2, 2, 2)},
        {"size": 3, "align_corners": False},
        {"size": 3, "recompute_scale_factor": True},
        {"size": 3, "mode": "linear"},
        {"size": 3, "mode": "cubic"},
        {"size": 0},
        {"scale_factor": 0.1},
    ):
        assert not both(lambda lib, x, o=options: lib.nn.functional.interpolate(x, **o), a, f"{options}")


@pytest.mark.parametrize("name", ["pixel_shuffle", "pixel_unshuffle", "channel_shuffle"])
def test_shuffles(name):
    rng = random.Random(name)
    for _ in range(100):
        r = rng.randint(0, 3)
        shape = (
            rng.randint(1, 2),
            rng.randint(1, 3) * (r * r or 1),
            rng.randint(1, 2) * (r or 1),
            rng.randint(1, 2) * (r or 1),
        )
        shape = rng.choice([shape, shape[1:], (2, *shape), (3, 5, 7), (4,)])
        a = np.random.default_rng(0).normal(size=shape)
        both(lambda lib, x, r=r: getattr(lib.nn.functional, name)(x, r), a, f"{shape} {r}")


@pytest.mark.parametrize(
    "make",
    [
        lambda nn: nn.Upsample(scale_factor=2),
        lambda nn: nn.Upsample(size=(3, 4), mode="bilinear", align_corners=True),
        lambda nn: nn.Upsample(scale_factor=(2, 1.5), mode="bilinear", recompute_scale_factor=True),
        lambda nn: nn.UpsamplingNearest2d(scale_factor=2),
        lambda nn: nn.UpsamplingBilinear2d(size=4),
        lambda nn: nn.PixelShuffle(2),
        lambda nn: nn.PixelUnshuffle(3),
        lambda nn: nn.ChannelShuffle(2),
    ],
)
def test_layers(make):
    ours, theirs = make(minidl.nn), make(torch.nn)
    assert repr(ours) == repr(theirs)
    a = np.random.default_rng(0).normal(size=(2, 4, 6, 9))
    assert both(lambda lib, x: (ours if lib is minidl else theirs)(x), a, repr(ours))

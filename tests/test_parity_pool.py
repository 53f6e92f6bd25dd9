"""Pooling, unfold and fold beside PyTorch: values, indices, gradients and refusals over random geometries."""

import random

import numpy as np
import pytest
from test_parity_resize import both

import minidl

torch = pytest.importorskip("torch")


def one_or(rng, n_dims, low, high):
    """One number, or one for each dimension; now and then one that is refused."""
    numbers = [rng.choice([-1, 0]) if rng.random() < 0.01 else rng.randint(low, high) for _ in range(n_dims)]
    return numbers[0] if rng.random() < 0.5 else tuple(numbers)


def geometries(seed, n_dims, count):
    """Shapes and arguments: mostly possible ones."""
    rng = random.Random(seed)
    for i in range(count):
        shape = (rng.randint(1, 2), rng.randint(1, 2), *(rng.randint(4, 8) for _ in range(n_dims)))
        if rng.random() < 0.1:
            shape = tuple(rng.choice([n, n, n, n, 0]) for n in shape)
        shape = shape[1:] if rng.random() < 0.2 else shape
        a = np.random.default_rng(i).normal(size=shape)
        options = {"kernel_size": one_or(rng, n_dims, 1, 4)}
        for name, low, high in (("stride", 1, 3), ("padding", 0, 1), ("dilation", 1, 2)):
            if rng.random() < 0.5:
                options[name] = one_or(rng, n_dims, low, high)
        yield rng, np.round(a) if rng.random() < 0.3 else a, options


def some(options, *names):
    return {name: value for name, value in options.items() if name in names}


@pytest.mark.parametrize("n_dims", [1, 2])
def test_max_pooling(n_dims):
    done = 0
    for rng, a, options in geometries("max", n_dims, 200):
        if "dilation" in options and min(a.shape[-n_dims:]) < 8:
            del options["dilation"]  # a window that sees no pixel has no largest one
        options |= {"ceil_mode": rng.random() < 0.4}
        if a.size and rng.random() < 0.3:
            a.reshape(-1)[rng.randrange(a.size)] = np.nan
        call = f"max_pool{n_dims}d"
        done += both(lambda lib, x, o=options, c=call: getattr(lib.nn.functional, c)(x, **o), a, f"{a.shape} {options}")
        if a.size:
            places = both_places(
                lambda lib, x, o=options, c=call: getattr(lib.nn.functional, c)(x, return_indices=True, **o), a
            )
            assert places, f"{a.shape} {options}"
    assert done > 80


def both_places(call, a):
    """Whether the second result is the same in both libraries, or there is none in either."""
    found = []
    for lib in (minidl, torch):
        try:
            found.append(call(lib, lib.tensor(a))[1].numpy())
        except Exception:
            found.append(None)
    ours, theirs = found
    return ours is theirs if theirs is None or ours is None else ours.dtype == theirs.dtype and (ours == theirs).all()


@pytest.mark.parametrize("n_dims", [1, 2])
def test_average_pooling(n_dims):
    done = 0
    for rng, a, options in geometries("avg", n_dims, 200):
        options = some(options, "kernel_size", "stride", "padding")
        options |= {"ceil_mode": rng.random() < 0.4, "count_include_pad": rng.random() < 0.5}
        if n_dims == 2 and rng.random() < 0.3:
            options["divisor_override"] = rng.choice([0, 1, 3, -2])
        call = f"avg_pool{n_dims}d"
        done += both(lambda lib, x, o=options, c=call: getattr(lib.nn.functional, c)(x, **o), a, f"{a.shape} {options}")
    assert done > 80


@pytest.mark.parametrize("n_dims", [1, 2])
@pytest.mark.parametrize("kind", ["avg", "max"])
def test_adaptive_pooling(kind, n_dims):
    done = 0
    for rng, a, _ in geometries(kind, n_dims, 200):
        size = one_or(rng, n_dims, 1, 10)
        if np.min(size) == 0 or a.shape[-n_dims - 1] == 0 or (0 in a.shape and 1 in np.ravel(size)):
            continue  # PyTorch's forward takes it, its backward does not; and what is 1 it gives to mean()
        if a.size and kind == "max" and rng.random() < 0.3:
            a.reshape(-1)[rng.randrange(a.size)] = np.nan
        call = f"adaptive_{kind}_pool{n_dims}d"
        done += both(lambda lib, x, s=size, c=call: getattr(lib.nn.functional, c)(x, s), a, f"{a.shape} {size}")
        if kind == "max" and a.size:
            assert both_places(lambda lib, x, s=size, c=call: getattr(lib.nn.functional, c)(x, s, return_indices=True), a)
    assert done > 80


@pytest.mark.parametrize("n_dims", [1, 2])
@pytest.mark.parametrize("p", [1.0, 2.0, 3.0, float("inf"), -float("inf")])
def test_norm_pooling(p, n_dims):
    for rng, a, options in geometries(str(p), n_dims, 30):
        options = some(options, "kernel_size", "stride") | {"ceil_mode": rng.random() < 0.4}
        options["kernel_size"] = 2 if n_dims == 1 else options["kernel_size"]
        call = f"lp_pool{n_dims}d"
        both(lambda lib, x, o=options, c=call: getattr(lib.nn.functional, c)(x, p, **o), abs(a) + 0.1, f"{options}", 1e-9)


@pytest.mark.parametrize("n_dims", [1, 2])
def test_unpooling(n_dims):
    def call(lib, x, options, size, n_dims=n_dims):
        f = lib.nn.functional
        out, places = getattr(f, f"max_pool{n_dims}d")(x, return_indices=True, **options)
        return getattr(f, f"max_unpool{n_dims}d")(
            out, places, output_size=size, **some(options, "kernel_size", "stride", "padding")
        )

    done = 0
    for rng, a, options in geometries("un", n_dims, 150):
        options = some(options, "kernel_size", "stride", "padding")
        if np.min(options.get("stride", 1)) < np.max(options["kernel_size"]):
            options.pop("stride", None)  # of what is found twice, one stays
        size = rng.choice([None, a.shape[-n_dims:], a.shape[-n_dims:], (9,) * n_dims])
        if a.size:
            done += both(lambda lib, x, o=options, s=size: call(lib, x, o, s), a, f"{a.shape} {options} {size}")
    assert done > 40


def test_unfold_and_fold():
    done = 0
    for _, a, options in geometries("unfold", 2, 200):
        done += both(lambda lib, x, o=options: lib.nn.functional.unfold(x, **o), a, f"{a.shape} {options}")
        if a.ndim == 4 and a.size:
            there_and_back = a.shape[2:]
            both(
                lambda lib, x, o=options, s=there_and_back: lib.nn.functional.fold(lib.nn.functional.unfold(x, **o), s, **o),
                a,
                f"{a.shape} {options}",
            )
    assert done > 80
    columns = np.random.default_rng(0).normal(size=(2, 8, 9))
    for size, kernel in ((4, 2), ((4, 4), (2, 2)), (5, 2), (4, 3), ((2, 10), (1, 2)), (3, 1)):
        both(lambda lib, x, s=size, k=kernel: lib.nn.functional.fold(x, s, k), columns, f"{size} {kernel}")
        both(lambda lib, x, s=size, k=kernel: lib.nn.functional.fold(x[0], s, k), columns, f"{size} {kernel}")


LAYERS = [
    lambda nn: nn.MaxPool1d(2),
    lambda nn: nn.MaxPool1d(3, 2, 1, 1, ceil_mode=True),
    lambda nn: nn.AvgPool1d(2),
    lambda nn: nn.AvgPool1d((3,), 2, 1, ceil_mode=True, count_include_pad=False),
    lambda nn: nn.LPPool1d(2, 3),
    lambda nn: nn.AdaptiveAvgPool1d(3),
    lambda nn: nn.AdaptiveMaxPool1d((3,)),
    lambda nn: nn.AvgPool2d((2, 3)),
    lambda nn: nn.LPPool2d(1.0, (3, 2), ceil_mode=True),
    lambda nn: nn.AdaptiveMaxPool2d((3, None)),
    lambda nn: nn.Unfold(3),
    lambda nn: nn.Unfold((2, 3), 1, 0, (2, 2)),
    lambda nn: nn.Fold((4, 5), (2, 2), stride=2),
    lambda nn: nn.MaxUnpool1d(2),
    lambda nn: nn.MaxUnpool2d(2, 3, 1),
    lambda nn: nn.MaxUnpool2d((2, 1)),
]


@pytest.mark.parametrize("make", LAYERS)
def test_layers(make):
    ours, theirs = make(minidl.nn), make(torch.nn)
    assert repr(ours) == repr(theirs)
    a = np.abs(np.random.default_rng(0).normal(size=(4, 4) if "Fold" in repr(ours) else (2, 3, 6, 7)))
    if "Unpool" in repr(ours):
        return
    if "1d" in repr(ours):
        a = a[0]
    both(lambda lib, x: (ours if lib is minidl else theirs)(x), a, repr(ours), 1e-10)


def test_names_at_the_top():
    a = np.random.default_rng(0).normal(size=(2, 3, 6))
    for call in (
        lambda lib, x: lib.max_pool1d(x, 2),
        lambda lib, x: lib.avg_pool1d(x, 3, 2, 1),
        lambda lib, x: lib.adaptive_avg_pool1d(x, 4),
        lambda lib, x: lib.max_pool2d(x, 2),
        lambda lib, x: lib.pixel_shuffle(x[None, :1].expand(1, 4, 3, 6), 2),
        lambda lib, x: lib.pixel_unshuffle(x[:, :2], 2),
        lambda lib, x: lib.channel_shuffle(x, 3),
    ):
        assert both(call, a)

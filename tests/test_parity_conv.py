"""Convolutions and their transposes against PyTorch's: values, gradients, modules, and what is refused."""

import itertools

import numpy as np
import pytest

import minidl

torch = pytest.importorskip("torch")


def draw(rng, name):
    """Shapes and options of a call that is valid, with everything PyTorch takes."""
    dims, transposed = int(name[-2]), "transpose" in name
    groups = int(rng.choice([1, 1, 2, 3, 4]))
    c, f = (int(rng.integers(1, 3)) * groups for _ in range(2))
    size, options = [], {"stride": [], "padding": [], "dilation": []}
    kernel, extra = [], []
    for _ in range(dims):
        k, s, d = (int(rng.integers(1, 4)) for _ in range(3))
        reach = d * (k - 1) + 1
        if transposed:
            n, e = int(rng.integers(1, 6)), int(rng.integers(0, max(s, d)))
            p = int(rng.integers(0, min(((n - 1) * s + reach + e - 1) // 2, 4) + 1))
            extra.append(e)
        else:
            p = int(rng.integers(0, 4))
            n = max(1, reach - 2 * p) + int(rng.integers(0, 8))
        size.append(n)
        kernel.append(k)
        for key, value in (("stride", s), ("padding", p), ("dilation", d)):
            options[key].append(value)
    options = {key: tuple(values) for key, values in options.items()} | {"groups": groups}
    if transposed:
        options["output_padding"] = tuple(extra)
    elif rng.random() < 0.2:
        word = str(rng.choice(["valid", "same"]))
        options |= {"padding": word, "stride": (1,) * dims if word == "same" else options["stride"]}
        size = [n + d * (k - 1) + 1 for n, d, k in zip(size, options["dilation"], kernel)]
    lead = [(), (1,), (3,), (0,)][rng.choice(4, p=[0.2, 0.3, 0.4, 0.1])]
    weight = (c, f // groups, *kernel) if transposed else (f, c // groups, *kernel)
    shapes = [(*lead, c, *size), weight] + ([(f,)] if rng.random() < 0.7 else [])
    return shapes, options


NAMES = ["conv1d", "conv2d", "conv_transpose1d", "conv_transpose2d"]


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("seed", range(80))
@pytest.mark.parametrize("name", NAMES)
def test_random_geometries(name, seed):
    rng = np.random.default_rng(seed)
    shapes, options = draw(rng, name)
    arrays = [rng.normal(size=shape) for shape in shapes]
    if arrays[0].ndim == int(name[-2]) + 2 and rng.random() < 0.5:  # with the batch innermost
        arrays[0] = np.moveaxis(np.ascontiguousarray(np.moveaxis(arrays[0], 0, -1)), -1, 0)
    results = []
    for lib in (torch, minidl):
        leaves = [lib.tensor(a, requires_grad=True) for a in arrays]
        out = getattr(lib.nn.functional, name)(*leaves, **options)
        g = np.random.default_rng(1).normal(size=tuple(out.shape))
        grads = lib.autograd.grad(out, leaves, lib.tensor(g, requires_grad=True), create_graph=True)
        # and once more, through what each gradient depends on
        back = [np.random.default_rng(2).normal(size=tuple(x.shape)) for x in grads]
        total = sum((x * lib.tensor(b)).sum() for x, b in zip(grads, back))
        twice = lib.autograd.grad(total, leaves[:2]) if out.numel() else ()  # of nothing PyTorch keeps no graph
        results.append([x.detach().numpy() for x in (out, *grads, *twice)])
    for theirs, ours in zip(*results, strict=True):
        assert theirs.shape == ours.shape
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_top_level_names_and_positions(name):
    """Under both names, with every argument by position."""
    shapes = {1: [(2, 4, 6), (4, 2, 3)], 2: [(2, 4, 6, 5), (4, 2, 3, 2)]}[int(name[-2])]
    rest = (2, 1, 1, 2, 2) if "transpose" in name else (2, 1, 2, 2)
    found = []
    for lib in (torch, minidl):
        x, w, b = (lib.tensor(np.random.default_rng(i).normal(size=s)) for i, s in enumerate([*shapes, (4,)]))
        found += [getattr(module, name)(x, w, b, *rest).numpy() for module in (lib, lib.nn.functional)]
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=1e-10, atol=1e-12)


def z(lib, *shape, dtype="float32"):
    return lib.zeros(*shape, dtype=getattr(lib, dtype))


REFUSED = [
    lambda F, lib: F.conv1d(z(lib, 5), z(lib, 4, 3, 2)),
    lambda F, lib: F.conv1d(z(lib, 2, 2, 4, 5), z(lib, 4, 3, 2)),
    lambda F, lib: F.conv1d(z(lib, 2, 2, 5), z(lib, 4, 3, 2)),
    lambda F, lib: F.conv1d(z(lib, 2, 2, 5), z(lib, 4, 2, 7)),
    lambda F, lib: F.conv1d(z(lib, 2, 2, 5), z(lib, 4, 2, 0)),
    lambda F, lib: F.conv1d(z(lib, 2, 3, 5), z(lib, 0, 3, 2)),
    lambda F, lib: F.conv1d(z(lib, 2, 2, 5), z(lib, 4, 2, 2), padding="same", stride=2),
    lambda F, lib: F.conv1d(z(lib, 2, 2, 5), z(lib, 4, 2, 2), padding="full"),
    lambda F, lib: F.conv1d(z(lib, 2, 2, 5), z(lib, 4, 2, 2), padding=(1, 1)),
    lambda F, lib: F.conv1d(z(lib, 2, 2, 5), z(lib, 4, 2, 2), stride=(1, 1)),
    lambda F, lib: F.conv1d(z(lib, 2, 2, 5), z(lib, 4, 2, 2), stride=0),
    lambda F, lib: F.conv1d(z(lib, 2, 2, 5), z(lib, 4, 2, 2), dilation=0),
    lambda F, lib: F.conv1d(z(lib, 2, 2, 5), z(lib, 4, 2, 2), padding=-1),
    lambda F, lib: F.conv1d(z(lib, 2, 2, 5), z(lib, 4, 2, 2), groups=0),
    lambda F, lib: F.conv1d(z(lib, 2, 4, 5), z(lib, 3, 2, 2), groups=2),
    lambda F, lib: F.conv1d(z(lib, 2, 2, 5), z(lib, 4, 2, 2), z(lib, 2)),
    lambda F, lib: F.conv1d(z(lib, 2, 2, 5), z(lib, 4, 2, 2, dtype="float64")),
    lambda F, lib: F.conv1d(z(lib, 2, 2, 5), z(lib, 4, 2, 2), z(lib, 4, dtype="float64")),
    lambda F, lib: F.conv2d(z(lib, 2, 2, 5, 5), z(lib, 4, 2, 2, 2), stride=(1, 1, 1)),
    lambda F, lib: F.conv2d(z(lib, 2, 3, 0, 5), z(lib, 4, 3, 2, 2), padding=1),
    lambda F, lib: F.conv_transpose1d(z(lib, 5), z(lib, 4, 3, 2)),
    lambda F, lib: F.conv_transpose1d(z(lib, 2, 5, 5), z(lib, 4, 3, 2)),
    lambda F, lib: F.conv_transpose1d(z(lib, 2, 3, 5), z(lib, 3, 4, 2), groups=2),
    lambda F, lib: F.conv_transpose1d(z(lib, 2, 3, 5), z(lib, 3, 4, 2), groups=0),
    lambda F, lib: F.conv_transpose1d(z(lib, 2, 4, 5), z(lib, 4, 3, 2), z(lib, 4)),
    lambda F, lib: F.conv_transpose1d(z(lib, 2, 3, 5), z(lib, 3, 4, 2), output_padding=1),
    lambda F, lib: F.conv_transpose1d(z(lib, 2, 3, 5), z(lib, 3, 4, 2), output_padding=2, stride=2),
    lambda F, lib: F.conv_transpose1d(z(lib, 2, 3, 5), z(lib, 3, 4, 2), output_padding=-1, stride=2),
    lambda F, lib: F.conv_transpose1d(z(lib, 2, 3, 5), z(lib, 3, 4, 2), padding=-1),
    lambda F, lib: F.conv_transpose1d(z(lib, 2, 3, 5), z(lib, 3, 4, 2), padding="same"),
    lambda F, lib: F.conv_transpose1d(z(lib, 2, 3, 5), z(lib, 3, 4, 2), stride=0),
    lambda F, lib: F.conv_transpose1d(z(lib, 2, 3, 1), z(lib, 3, 4, 1), padding=1),
    lambda F, lib: F.conv_transpose1d(z(lib, 2, 3, 5), z(lib, 3, 4, 2, dtype="float64")),
    lambda F, lib: F.conv_transpose2d(z(lib, 2, 3, 0, 5), z(lib, 3, 4, 2, 2)),
    lambda F, lib: F.conv_transpose2d(z(lib, 2, 0, 5, 5), z(lib, 0, 4, 2, 2)),
    lambda F, lib: F.conv_transpose2d(z(lib, 2, 3, 5, 5), z(lib, 3, 0, 2, 2)),
    lambda F, lib: F.conv_transpose2d(z(lib, 1, 1, 2, 2, dtype="bool"), z(lib, 1, 1, 1, 1, dtype="bool")),
    lambda F, lib: lib.nn.Conv1d(2, 2, 3, padding_mode="mirror"),
    lambda F, lib: lib.nn.Conv1d(2, 2, 3, padding="same", stride=2),
    lambda F, lib: lib.nn.Conv1d(2, 2, 3, padding="full"),
    lambda F, lib: lib.nn.Conv2d(3, 4, 2, groups=2),
    lambda F, lib: lib.nn.Conv2d(4, 3, 2, groups=2),
    lambda F, lib: lib.nn.Conv2d(4, 3, 2, groups=0),
    lambda F, lib: lib.nn.ConvTranspose1d(2, 2, 3, padding_mode="reflect"),
    lambda F, lib: lib.nn.ConvTranspose2d(2, 2, 3, output_padding=1)(z(lib, 1, 2, 4, 4)),
    lambda F, lib: lib.nn.ConvTranspose2d(2, 3, 3, stride=2)(z(lib, 1, 2, 4, 4), output_size=(11, 9)),
    lambda F, lib: lib.nn.ConvTranspose2d(2, 3, 3, stride=2)(z(lib, 1, 2, 4, 4), output_size=(8, 9)),
    lambda F, lib: lib.nn.ConvTranspose2d(2, 3, 3, stride=2)(z(lib, 1, 2, 4, 4), output_size=(9,)),
    lambda F, lib: lib.nn.Conv2d(2, 2, 3, padding=2, padding_mode="reflect")(z(lib, 1, 2, 2, 2)),
]


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_what_is_refused(number):
    for lib in (torch, minidl):
        with pytest.raises((RuntimeError, ValueError, TypeError)):
            REFUSED[number](lib.nn.functional, lib)


@pytest.mark.parametrize(
    "call",
    [
        lambda F, lib: F.conv1d(z(lib, 2, 3, 5, dtype="int64"), z(lib, 4, 3, 2, dtype="int64")),
        lambda F, lib: F.conv_transpose1d(z(lib, 2, 3, 5, dtype="int64"), z(lib, 3, 4, 2, dtype="int64")),
        lambda F, lib: F.conv_transpose1d(z(lib, 2, 3, 5), z(lib, 3, 4, 2), padding=3),
        lambda F, lib: F.conv_transpose1d(z(lib, 2, 3, 1), z(lib, 3, 4, 2), padding=1),
        lambda F, lib: F.conv_transpose1d(z(lib, 2, 3, 5), z(lib, 3, 4, 2), output_padding=1, dilation=2),
        lambda F, lib: F.conv_transpose2d(z(lib, 0, 3, 5, 5), z(lib, 3, 4, 2, 2)),
        lambda F, lib: F.conv2d(z(lib, 2, 2, 5, 5), z(lib, 4, 2, 2, 2), stride=(1,)),
    ],
)
def test_edges_that_are_taken(call):
    theirs, ours = (call(lib.nn.functional, lib) for lib in (torch, minidl))
    assert tuple(theirs.shape) == tuple(ours.shape)
    assert str(theirs.dtype).split(".")[1] == str(ours.dtype).split(".")[1]


MODULES = [
    (lambda nn: nn.Conv1d(2, 4, 3), (3, 2, 7)),
    (lambda nn: nn.Conv1d(2, 4, (3,), 2, 1, 2, 2, False), (3, 2, 9)),
    (lambda nn: nn.Conv1d(2, 4, 4, padding="same"), (2, 7)),
    (lambda nn: nn.ConvTranspose1d(2, 4, 3, 2, 1, 1), (3, 2, 5)),
    (lambda nn: nn.ConvTranspose1d(2, 4, 3, 2, groups=2, bias=False), (2, 5)),
    (lambda nn: nn.ConvTranspose2d(2, 4, (3, 2), 2, 1, 1, 2, False, 2), (3, 2, 5, 4)),
    (lambda nn: nn.ConvTranspose2d(2, 3, 4, 2, 1), (2, 5, 4)),
    (lambda nn: nn.Conv2d(8, 16, 3, padding=1, groups=8), (2, 8, 9, 4)),
    *[
        (lambda nn, mode=mode, padding=padding: nn.Conv2d(2, 3, (4, 3), padding=padding, padding_mode=mode), (2, 2, 6, 5))
        for mode, padding in itertools.product(("reflect", "replicate", "circular"), ("same", "valid", (2, 1), 1))
    ],
    *[
        (lambda nn, mode=mode: nn.Conv1d(2, 4, 3, 2, 2, dilation=2, groups=2, padding_mode=mode), (2, 2, 7))
        for mode in ("reflect", "replicate", "circular")
    ],
]


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("number", range(len(MODULES)))
def test_modules(number):
    make, shape = MODULES[number]
    rng = np.random.default_rng(number)
    theirs, ours = make(torch.nn).double(), make(minidl.nn).double()
    assert repr(ours) == repr(theirs)
    assert {k: tuple(v.shape) for k, v in theirs.state_dict().items()} == {k: v.shape for k, v in ours.state_dict().items()}
    for name in ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert (ours.output_padding, ours.transposed) == (theirs.output_padding, theirs.transposed)
    ours.load_state_dict({name: minidl.tensor(value.numpy()) for name, value in theirs.state_dict().items()})
    array, results = rng.normal(size=shape), []
    for lib, module in ((torch, theirs), (minidl, ours)):
        x = lib.tensor(array, requires_grad=True)
        out = module(x)
        g = lib.tensor(np.random.default_rng(1).normal(size=tuple(out.shape)))
        results.append([y.detach().numpy() for y in (out, *lib.autograd.grad(out, [x, *module.parameters()], g))])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("size", [(10, 9), (9, 10), (1, 3, 10, 9)])
def test_output_size(size):
    torch.manual_seed(0)
    theirs, ours = (lib.nn.ConvTranspose2d(2, 3, 3, stride=2) for lib in (torch, minidl))
    ours.load_state_dict({name: minidl.tensor(value.numpy()) for name, value in theirs.state_dict().items()})
    x = np.random.default_rng(0).normal(size=(1, 2, 4, 4)).astype(np.float32)
    found = [module(lib.tensor(x), output_size=size).detach().numpy() for lib, module in ((torch, theirs), (minidl, ours))]
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("make", [lambda nn: nn.Conv1d(30, 20, 5), lambda nn: nn.ConvTranspose2d(30, 20, 4, groups=2)])
def test_initial_weights_have_the_same_bounds(make):
    torch.manual_seed(0)
    minidl.manual_seed(0)
    for a, b in zip(make(torch.nn).parameters(), make(minidl.nn).parameters(), strict=True):
        n = a.numel()
        largest = [abs(p).max().item() for p in (a, b)]
        assert abs(largest[0] - largest[1]) < 12 / n * max(
            largest
        )  # the largest of n even numbers is within some 1 / n of the bound

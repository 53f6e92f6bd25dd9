"""Programs run by minidl and by PyTorch side by side: gradients, functional derivatives, hooks, and changes in place."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minidl

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),  # PyTorch's, of what it will drop one day
    pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning"),
]


def both(array, requires_grad=False):
    """The same numbers as a tensor of each library."""
    return tuple(lib.tensor(array, requires_grad=requires_grad) for lib in (minidl, torch))


def same(ours, theirs, tolerance=1e-10):
    """Equal nesting, shapes, dtypes and numbers."""
    if isinstance(theirs, tuple):
        assert isinstance(ours, tuple) and len(ours) == len(theirs)
        for a, b in zip(ours, theirs):
            same(a, b, tolerance)
    elif theirs is None:
        assert ours is None
    else:
        a, b = ours.detach().numpy(), theirs.detach().numpy()
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


# -- functional


def scalar_of_two(x, y):
    return ((x * x).sum(1) * y.sin()).sum() + (x[0, 1] * y).pow(3).sum()


def pair_of_two(x, y):
    return x.exp() * y, (x @ y.unsqueeze(1).expand(3, 2)).tanh()


def vector_of_one(x):
    return (x * x.sum()).sigmoid()


X, Y = np.random.default_rng(0).normal(size=(3, 3)), np.random.default_rng(1).normal(size=3)
VX, VY = np.random.default_rng(2).normal(size=(3, 3)), np.random.default_rng(3).normal(size=3)
OUT = (np.random.default_rng(4).normal(size=(3, 3)), np.random.default_rng(5).normal(size=(3, 2)))


def call(lib, name, func, inputs, v=None, **options):
    def convert(x):
        return tuple(map(convert, x)) if isinstance(x, tuple) else lib.tensor(x)

    args = (convert(inputs),) if v is None else (convert(inputs), convert(v))
    return getattr(lib.autograd.functional, name)(func, *args, **options)


@pytest.mark.parametrize(
    ("name", "func", "inputs", "v"),
    [
        ("vjp", pair_of_two, (X, Y), OUT),
        ("vjp", scalar_of_two, (X, Y), None),
        ("vjp", vector_of_one, X, VX),
        ("jvp", pair_of_two, (X, Y), (VX, VY)),
        ("jvp", scalar_of_two, (X, Y), (VX, VY)),
        ("jvp", vector_of_one, (Y,), (VY,)),
        ("jacobian", pair_of_two, (X, Y), None),
        ("jacobian", scalar_of_two, (X, Y), None),
        ("jacobian", vector_of_one, Y, None),
        ("jacobian", vector_of_one, (Y,), None),
        ("jacobian", lambda x, y: x * 2, (X, Y), None),
        ("hessian", scalar_of_two, (X, Y), None),
        ("hessian", lambda x: x.pow(3).sum(), Y, None),
        ("hessian", lambda x: x.sum(), Y, None),
        ("hvp", scalar_of_two, (X, Y), (VX, VY)),
        ("vhp", scalar_of_two, (X, Y), (VX, VY)),
        ("hvp", lambda x: x.sin().sum(), Y, VY),
        ("vhp", lambda x: x.sin().sum(), Y, VY),
        ("hvp", lambda x: x.sum(), Y, VY),
    ],
)
def test_functional_gives_what_pytorch_gives(name, func, inputs, v):
    same(call(minidl, name, func, inputs, v), call(torch, name, func, inputs, v))


@pytest.mark.parametrize("name", ["vjp", "jvp", "jacobian", "hessian", "hvp", "vhp"])
def test_functional_results_can_be_differentiated_again(name):
    found = []
    for lib in (minidl, torch):
        x = lib.tensor(Y, requires_grad=True)
        v = () if name in ("jacobian", "hessian") else (lib.tensor(VY if name not in ("vjp",) else np.array(0.7)),)
        result = getattr(lib.autograd.functional, name)(lambda x: (x.sin() * x).sum(), x, *v, create_graph=True)
        result = result[-1] if isinstance(result, tuple) else result
        assert result.requires_grad
        found.append(lib.autograd.grad((result * result).sum(), x)[0])
    same(*found)


@pytest.mark.parametrize("name", ["vjp", "jvp", "jacobian", "hessian", "hvp", "vhp"])
def test_functional_strict(name):
    for lib in (minidl, torch):
        v = () if name in ("jacobian", "hessian") else ((lib.tensor(1.0),) if name == "vjp" else ((lib.ones(2), lib.ones(2)),))
        with pytest.raises(RuntimeError):
            getattr(lib.autograd.functional, name)(lambda x, y: x.sin().sum(), (lib.ones(2), lib.ones(2)), *v, strict=True)


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("vjp", (lambda x: x, [1.0, 2.0])),  # v is wanted
        ("vjp", (lambda x: x, [1.0, 2.0], [1.0, 2.0, 3.0])),
        ("jvp", (lambda x: x, [1.0, 2.0])),
        ("hessian", (lambda x: x, [1.0, 2.0])),  # not one number
        ("hvp", (lambda x: x.sum(), [1.0, 2.0], [1.0])),
    ],
)
def test_functional_errors(name, args):
    for lib in (minidl, torch):
        func, *tensors = args
        with pytest.raises(RuntimeError):
            getattr(lib.autograd.functional, name)(func, *map(lib.tensor, tensors))


# -- random programs with views and changes in place

# Where the two may part; `minidl.autograd.inplace` says the same in words.
ONLY_ONE_REFUSES = (
    "refer to a single memory location",  # PyTorch: source and destination overlap
    "it is expanded",  # minidl: nothing that was expanded can be written to
)

VIEWS = ("slice", "reshape", "transpose", "narrow", "diagonal", "select", "expand", "unsqueeze", "detach")
CHANGES = (
    "add_",
    "mul_",
    "mul_self",
    "div_",
    "pow_",
    "sin_",
    "tanh_",
    "sigmoid_",
    "zero_",
    "fill_",
    "copy_",
    "number",
    "masked_fill_",
)
ASSIGNMENTS = ("int", "slices", "mask", "list", "tensor", "all", "augmented")
NEW = ("sin", "mul", "clone")


def run_step(lib, env, step):
    """One step of a program: take a tensor of ``env``, and change it or add a new one made from it."""
    name, i, j, k = step
    x, y = env[i % len(env)], env[j % len(env)]
    n = x.shape[k % x.ndim] if x.ndim else 0
    assert (x.grad_fn is None) == x.is_leaf  # looking at grad_fn makes PyTorch work it out again if its base was changed
    if name in VIEWS or name in NEW:
        env.append(make(lib, name, x, y, j, k, n))
    elif name in CHANGES:
        change(name, x, y)
    else:
        assign(lib, name, x, y, j)


def make(lib, name, x, y, j, k, n):
    dim = k % x.ndim if x.ndim else 0
    if name == "slice":
        return x[(slice(None),) * dim + (slice(j % 2 if n > 1 else 0, None, 1 + k % 2),)] if x.ndim else x[...]
    if name == "reshape":
        return x.reshape(-1)
    if name == "transpose":
        return x.transpose(dim, j % x.ndim) if x.ndim else x.reshape(1)
    if name == "narrow":
        return x.narrow(dim, 0, max(n // 2, 1))
    if name == "diagonal":
        return x.diagonal(j % 3 - 1, 0, 1)
    if name == "select":
        return x.select(dim, j)
    if name == "expand":
        return x.expand(2, *x.shape)
    if name == "unsqueeze":
        return x.unsqueeze(dim)
    if name == "mul":
        return x * y.sin().sum()
    return getattr(x, name)()


def change(name, x, y):
    if name == "mul_self":
        x.mul_(x)
    elif name == "number":
        x *= 0.7
    elif name == "pow_":
        x.pow_(2)
    elif name == "div_":
        x /= y * y + 1
    elif name == "masked_fill_":
        x.masked_fill_(x > 0, 0.25)
    elif name == "fill_":
        x.fill_(0.5)
    elif name in ("add_", "mul_", "copy_"):
        getattr(x, name)(y)
    else:
        getattr(x, name)()


def assign(lib, name, x, y, j):
    if name == "int":
        x[j - 2] = y.sum()
    elif name == "slices":
        x[1:, ::2] = 2 * y.sin().sum()
    elif name == "mask":
        x[x > 0] = y.cos().mean()
    elif name == "list":
        x[[0, x.shape[0] - 1] if x.shape[0] > 1 else [0]] = 0.3
    elif name == "tensor":
        x[lib.arange(x.shape[0] - 1, -1, -1)] = y
    elif name == "all":
        x[...] = y
    else:
        x[0] += y.sum()


def run_program(lib, start, steps):
    """A leaf, all tensors that were made from it, and for each step the error it ended in (or None)."""
    leaf = lib.tensor(start, requires_grad=True)
    env, errors = [leaf, leaf * 1, lib.tensor(CONSTANT)], []
    for step in steps:
        try:
            run_step(lib, env, step)
            errors.append(None)
        except (RuntimeError, IndexError, ValueError, TypeError) as error:
            errors.append(error)
    return leaf, env, errors


def loss_of(lib, env):
    total = 0
    for seed, t in enumerate(env):
        total = total + (t * lib.tensor(np.random.default_rng(seed).normal(size=tuple(t.shape)))).sum()
    return total


def gradients(lib, leaf, env):
    """The leaf's gradient and, through that, the one of its square; or the error that this ends in."""
    try:
        (g,) = lib.autograd.grad(loss_of(lib, env), leaf, create_graph=True)
        return g, lib.autograd.grad((g * g).sum(), leaf, allow_unused=True)[0] if g.requires_grad else None
    except RuntimeError as error:
        return error


def slope_along(steps, start, direction, step=1e-6):
    """How the loss of a program changes with its leaf, by central differences."""
    with minidl.no_grad():
        ends = [loss_of(minidl, run_program(minidl, start + sign * step * direction, steps)[1]).item() for sign in (1, -1)]
    return (ends[0] - ends[1]) / (2 * step)


CONSTANT = np.random.default_rng(7).normal(size=(3, 4))
STEPS = st.lists(
    st.tuples(st.sampled_from(VIEWS + CHANGES + CHANGES + ASSIGNMENTS + NEW), *[st.integers(0, 5)] * 3), min_size=1, max_size=7
)


@given(STEPS)
def test_programs_with_views_and_changes_in_place(steps):
    start = np.random.default_rng(0).uniform(-1, 1, size=(3, 4))
    tried = zip(run_program(torch, start, steps)[2], run_program(minidl, start, steps)[2])
    apart = [any(text in f"{theirs} {ours}" for text in ONLY_ONE_REFUSES) for theirs, ours in tried]
    steps = steps[: [*apart, True].index(True)]
    leaf, env, errors = run_program(minidl, start, steps)
    t_leaf, t_env, expected = run_program(torch, start, steps)
    for step, ours, theirs in zip(steps, errors, expected):
        assert (ours is None) == (theirs is None), f"{step}: minidl: {ours!r}, PyTorch: {theirs!r}"
    for ours, theirs in zip(env, t_env):
        same(ours, theirs, 1e-8)
        assert ours.requires_grad == theirs.requires_grad and ours.is_leaf == theirs.is_leaf
    ours, theirs = gradients(minidl, leaf, env), gradients(torch, t_leaf, t_env)
    if not isinstance(theirs, Exception):
        assert not isinstance(ours, Exception), ours
        same(ours[0], theirs[0], 1e-7)
        second = np.zeros_like(start) if theirs[1] is None else theirs[1].numpy()
        np.testing.assert_allclose(0 * start if ours[1] is None else ours[1].numpy(), second, rtol=1e-6, atol=1e-6)
    elif not isinstance(ours, Exception) and "detach" not in [name for name, *_ in steps]:
        # minidl remembered a copy of what was changed
        direction = np.random.default_rng(9).normal(size=start.shape)
        done = [step for step, error in zip(steps, errors) if error is None]
        slope = slope_along(done, start, direction)
        assert (ours[0].detach().numpy() * direction).sum() == pytest.approx(slope, rel=1e-5, abs=1e-5)

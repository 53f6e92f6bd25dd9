"""How every op is tested: a table of rows, an independent forward, and the checks that hold for all of them."""

import math
from typing import Any, NamedTuple

import numpy as np

import minidl
from minidl.testing import gradcheck, gradgradcheck

RTOL = {"float64": 1e-12, "float32": 2e-5, "float16": 1e-2}


class Row(NamedTuple):
    """An op, and how it is tested."""

    call: Any  # of tensors or arrays, and options
    oracle: Any  # of NumPy arrays (float64 for all floating ones), and options
    draw: Any  # strategy for (arrays, options), given a strategy for dtypes
    kinds: tuple[str, ...] = ("float", "integer", "bool")  # what dtypes it takes
    dtype: Any = None  # the result's dtype, from those of the arrays; None: the first's
    grad: bool = True  # differentiable
    raw: bool = True  # works on bare arrays too


def check_values(row, arrays, options):
    """Against the oracle; on arrays as on tensors; leaving its inputs alone."""
    kept = [a.copy() for a in arrays]
    got = as_tuple(row.call(*map(minidl.from_numpy, arrays), **options))
    want = as_tuple(row.oracle(*(a.astype(np.float64) if a.dtype.kind == "f" else a for a in arrays), **options))
    dtypes = as_tuple(row.dtype(*arrays) if row.dtype else arrays[0].dtype)
    assert len(got) == len(want)
    for y, right, dtype in zip(got, want, (*dtypes, *dtypes[-1:] * len(got))):
        assert isinstance(y, minidl.Tensor)
        same(np.asarray(y), right, np.dtype(dtype))
    if row.raw and len({a.dtype for a in arrays}) == 1 and arrays[0].dtype.kind == "f":  # as rules see them
        for y, bare in zip(got, as_tuple(row.call(*arrays, **options))):
            assert not isinstance(bare, minidl.Tensor)
            assert np.asarray(bare).dtype == y.numpy().dtype
            rounding = np.finfo(y.numpy().dtype).eps if y.is_floating_point() else 0
            few = 4 if y.device.type == "cpu" else 1000  # the bare ones are on the CPU, whose kernels add up in another order
            np.testing.assert_allclose(bare, y.numpy(), few * rounding, few * rounding / 4)
    for a, before in zip(arrays, kept):
        np.testing.assert_array_equal(a, before)


def check_gradients(row, arrays, options):
    """To order two, against differences."""
    tensors = tuple(minidl.from_numpy(a).requires_grad_(a.dtype.kind == "f") for a in arrays)

    def func(*tensors):
        return row.call(*tensors, **options)

    assert gradcheck(func, tensors)
    assert gradgradcheck(func, tensors)


def same(got, want, dtype):
    """Equal in shape and dtype, and in value up to rounding."""
    want = np.asarray(want)
    assert got.dtype == dtype, f"dtype {got.dtype}, wanted {dtype}"
    assert got.shape == want.shape, f"shape {got.shape}, wanted {want.shape}"
    if dtype.kind == "f":
        rtol = RTOL[dtype.name]
        np.testing.assert_allclose(got.astype(np.float64), want.astype(np.float64), rtol, rtol)
    else:
        whole = want.astype(np.int64 if dtype.kind != "b" else bool).astype(dtype)
        np.testing.assert_array_equal(got, whole)


def as_tuple(x):
    return tuple(x) if isinstance(x, (tuple, list)) else (x,)


# -- dtypes of results, said once more and independently


def category(dtype):
    return {"b": 0, "i": 1, "u": 1, "f": 2}[dtype.kind]


def promoted(a, b):
    if category(a) != category(b):
        return max(a, b, key=category)
    return np.promote_types(a, b)


def common(*arrays):
    """Tensors with dimensions decide; those without count only if their category is higher."""
    result = None
    for group in ([a for a in arrays if a.ndim], [a for a in arrays if not a.ndim]):
        found = None
        for a in group:
            found = a.dtype if found is None else promoted(found, a.dtype)
        if result is None or (found is not None and category(found) > category(result)):
            result = found
    return result


def floating(*arrays):
    found = common(*arrays)
    return found if found.kind == "f" else np.dtype(np.float32)


def boolean(*arrays):
    return np.dtype(bool)


def truth(a):
    return a.dtype if a.dtype == np.uint8 else np.dtype(bool)


def long(*arrays):
    return np.dtype(np.int64)


def summed(a, *_):
    return a.dtype if a.dtype.kind == "f" else np.dtype(np.int64)


# -- oracles from plain Python functions


def lifted(f):
    """A function of Python numbers, element by element, with broadcasting."""

    def oracle(*arrays, **options):
        return np.asarray(np.frompyfunc(lambda *numbers: f(*numbers, **options), len(arrays), 1)(*arrays))

    return oracle


def all_dims(dim, ndim):
    return tuple(range(ndim)) if dim is None else tuple(d % max(ndim, 1) for d in as_tuple(dim))


def reduced(f):
    """A function from a list of numbers to one, over ``dim``."""

    def oracle(a, dim=None, keepdim=False, **options):
        dims = all_dims(dim, a.ndim) if a.ndim else ()
        kept = [d for d in range(a.ndim) if d not in dims]
        rows = a.transpose([*kept, *dims]).reshape(*(a.shape[d] for d in kept), math.prod(a.shape[d] for d in dims))
        out = np.empty(rows.shape[:-1], object)
        for place in np.ndindex(*out.shape):
            out[place] = f(rows[place].tolist(), **options)
        return out.reshape([1 if d in dims else n for d, n in enumerate(a.shape)]) if keepdim else out

    return oracle


def along(f):
    """A function from a list of numbers to a list, along ``dim``."""

    def oracle(a, dim, **options):
        if not a.ndim:
            return np.array(f([a.item()], **options)[0])
        rows = np.moveaxis(a, dim, -1)
        results = [f(row.tolist(), **options) for row in rows.reshape(-1, a.shape[dim])] if a.size else []
        width = len(results[0]) if results else len(f(row_of(a, dim), **options))
        return np.moveaxis(np.array(results, object).reshape(*rows.shape[:-1], width), -1, dim)

    return oracle


def row_of(a, dim):
    return [0.0] * a.shape[dim]

"""Clipping and starts of weights against PyTorch's."""

import numpy as np
import pytest

import minidl

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("dtypes", [("float32", "float64"), ("float64",), ("float16", "float32"), ("float32",)])
@pytest.mark.parametrize("p", [0.0, 1.0, 2.0, 3.0, float("inf"), -1.0])
def test_norms(dtypes, p):
    found = []
    for lib in (torch, minidl):
        rng, params = np.random.default_rng(0), []
        for dtype in dtypes:
            for shape in ((3, 2), (4,), ()):
                q = lib.nn.Parameter(lib.zeros(shape, dtype=getattr(lib, dtype)))
                q.grad = lib.tensor(rng.normal(size=shape).astype(dtype))
                params.append(q)
        before = lib.nn.utils.get_total_norm([q.grad for q in params], p)
        total = lib.nn.utils.clip_grad_norm_(params, 0.25, p)
        lib.nn.utils.clip_grads_with_norm_(params[:2], 0.125, total)
        found.append([before.numpy(), total.numpy(), *(q.grad.numpy() for q in params)])
    for ours, theirs in zip(found[1], found[0]):
        assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
        rounding = {"float16": 2e-3, "float32": 2e-5, "float64": 1e-12}[dtypes[0]]  # PyTorch adds up norms of each dtype
        np.testing.assert_allclose(ours, theirs, rtol=rounding)


@pytest.mark.parametrize(("shape", "groups"), [((4, 4, 3), 1), ((6, 2, 3, 4), 3), ((4, 7, 1, 2, 3), 2), ((6, 2, 5), 2)])
def test_dirac(shape, groups):
    ours, theirs = (lib.nn.init.dirac_(lib.empty(shape), groups).numpy() for lib in (minidl, torch))
    np.testing.assert_array_equal(ours, theirs)


def test_sparse():
    ours, theirs = (lib.nn.init.sparse_(lib.empty(30, 2000), 0.31, 0.2).numpy() for lib in (minidl, torch))
    np.testing.assert_array_equal((ours == 0).sum(0), (theirs == 0).sum(0))
    assert abs(ours.std() - theirs.std()) < 0.005

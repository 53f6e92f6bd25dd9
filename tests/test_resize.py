"""Edges put around pictures, and pictures made larger and smaller: against loops over pixels, gradients to order two."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minidl
import minidl.nn.functional as F
from minidl.shapes import ShapeError
from minidl.testing import gradcheck, gradgradcheck

# -- pad

BEYOND = {
    "reflect": lambda i, n: abs(i) if i < n else 2 * (n - 1) - i,
    "replicate": lambda i, n: min(max(i, 0), n - 1),
    "circular": lambda i, n: i % n,
}


def padded(a, edges, mode):
    """Element by element; ``edges`` is a pair for each of the last dimensions, in their order."""
    lead = a.ndim - len(edges)
    out = np.empty([*a.shape[:lead], *(n + sum(e) for n, e in zip(a.shape[lead:], edges))])
    for place in np.ndindex(*out.shape):
        source = list(place[:lead])
        for i, n, (before, after) in zip(place[lead:], a.shape[lead:], edges):
            crop, end = (max(-before, 0), min(after, 0)) if mode == "circular" else (0, 0)
            source.append(crop + BEYOND[mode](i - before - crop, n - crop + end))
        out[place] = a[tuple(source)]
    return out


@st.composite
def edges_to_pad(draw):
    mode, n_dims = draw(st.sampled_from(sorted(BEYOND))), draw(st.integers(1, 2))
    sizes = [draw(st.integers(1, 4)) for _ in range(n_dims)]
    edges = []
    for n in sizes:
        most = {"reflect": n - 1, "replicate": 5, "circular": n}[mode]
        before = draw(st.integers(1 - n if mode != "circular" else 0, most))
        lowest = 1 - n - min(before, 0) if mode != "circular" else 0
        edges.append((before, draw(st.integers(lowest, most))))
    if mode == "circular" and sizes[-1] > 2:
        edges[-1] = draw(st.sampled_from([edges[-1], (-1, 1), (1, -1), (-1, 0), (-1, -1)]))
    lead = draw(st.sampled_from([(1,), (2,), (2, 1)]))
    return (*lead, *sizes), edges, mode


@given(edges_to_pad(), st.booleans(), st.integers(0, 99))
def test_pad_finds_what_is_beyond_the_edge(case, reversed_memory, seed):
    shape, edges, mode = case
    a = np.random.default_rng(seed).normal(size=shape)
    a = a[..., ::-1].T.copy().T if reversed_memory else a
    flat = [n for edge in reversed(edges) for n in edge]
    kept = a.copy()
    x = minidl.from_numpy(a).requires_grad_()
    np.testing.assert_array_equal(F.pad(x, flat, mode).detach().numpy(), padded(a, edges, mode))
    np.testing.assert_array_equal(a, kept)
    assert gradcheck(lambda x: F.pad(x, flat, mode), x) and gradgradcheck(lambda x: F.pad(x, flat, mode), x)


def test_pad_copies_even_where_there_is_nothing_to_pad():
    x = minidl.ones(1, 2, 3)
    for mode in ("constant", *BEYOND):
        F.pad(x, (0, 0), mode).zero_()
        F.pad(x, (-1, 0), mode).zero_()
    assert x.sum() == 6


@pytest.mark.parametrize(
    ("shape", "pad", "mode", "error", "said"),
    [
        ((4,), (1, 1), "reflect", NotImplementedError, r"2 for shape \(4,\)"),
        ((1, 1, 2, 4), (1, 1), "replicate", NotImplementedError, "2, 4 or 6 numbers"),
        ((1, 4), (1, 1), "nearest", NotImplementedError, "'nearest'"),
        ((1, 4), (4, 0), "reflect", ShapeError, "finds only 3"),
        ((1, 4), (0, 5), "circular", ShapeError, "finds only 4"),
        ((1, 4), (-3, 2), "circular", ShapeError, "finds only 1"),
        ((1, 4), (-2, -2), "replicate", ShapeError, "leaves nothing"),
        ((4,), (-2, -3), "constant", ShapeError, "crops more"),
        ((4,), (-5, 3), "constant", ShapeError, "crops more"),
        ((2, 0, 4), (1, 1), "reflect", ShapeError, "size of 0"),
        ((4,), (1.0, 1), "constant", TypeError, "float"),
        ((4,), 3, "constant", TypeError, "tuple"),
    ],
)
def test_what_pad_refuses(shape, pad, mode, error, said):
    with pytest.raises(error, match=said):
        F.pad(minidl.ones(*shape), pad, mode)


def test_pad_takes_a_value_only_for_constants():
    with pytest.raises(ShapeError, match="takes no value"):
        F.pad(minidl.ones(1, 2), (1, 1), "reflect", 1.0)
    assert F.pad(minidl.ones(1, 2), (1, 1), "reflect", 0).tolist() == [[1, 1, 1, 1]]

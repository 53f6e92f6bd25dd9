"""The kernels of attention against the textbook's matrix of weights, in float64."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from standin import nvrtc
from test_cuda_kernels import close, cupy, hard, on_host

from minidl.kernels import precision
from minidl.kernels.cuda import loader
from minidl.kernels.cuda.attention import Attention, _text, attention


def textbook(q, k, v, g, mask, scale, causal, drops):
    """Result and gradients."""
    q, k, v, g = (x.astype(np.float64) for x in (q, k, v, g))
    scores = q @ k.swapaxes(-1, -2) * scale
    if causal:
        scores[..., ~np.tri(*scores.shape[-2:], dtype=bool)] = -np.inf
    if mask is not None:
        scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask
    top = scores.max(-1, keepdims=True, initial=-np.inf)
    w = np.exp(scores - np.where(np.isfinite(top), top, 0))
    total = w.sum(-1, keepdims=True)
    w /= np.where(total, total, 1)
    gw = g @ v.swapaxes(-1, -2) * drops
    gs = w * (gw - (w * gw).sum(-1, keepdims=True))
    return (w * drops) @ v, gs @ k * scale, gs.swapaxes(-1, -2) @ q * scale, (w * drops).swapaxes(-1, -2) @ g


CASES = {  # N, H, L, S, E, V, and options; tiles are of 64 rows (on the way back 32) and 32 columns, the wide one's of 16
    "small": (2, 3, 5, 7, 5, 17, {}),
    "tiles": (1, 2, 67, 35, 5, 17, {}),
    "causal": (2, 1, 70, 70, 5, 17, {"causal": True}),
    "causal, more keys": (1, 1, 34, 50, 5, 17, {"causal": True}),
    "causal, fewer keys": (1, 2, 40, 9, 5, 17, {"causal": True}),
    "boolean": (2, 2, 33, 34, 5, 17, {"mask": (2, 1, 33, 34), "boolean": True}),
    "added": (2, 2, 9, 33, 5, 17, {"mask": (1, 2, 1, 33)}),
    "dropout": (2, 2, 19, 37, 5, 17, {"p": 0.3}),
    "all at once": (1, 2, 37, 37, 5, 17, {"causal": True, "p": 0.5}),
    "wide": (1, 1, 18, 20, 90, 70, {}),
    "no keys": (2, 1, 3, 0, 5, 17, {}),
    "no queries": (1, 2, 0, 3, 5, 17, {}),
    "nothing kept": (1, 1, 1, 1, 5, 17, {"p": 1.0}),
}


def turned(x):
    """The same with the length before the heads in memory."""
    return cupy.ascontiguousarray(x.swapaxes(1, 2)).swapaxes(1, 2)


@pytest.mark.parametrize(("case", "dtype"), [(case, np.float32) for case in CASES] + [("all at once", np.float64)])
def test_it_is_the_textbook(case, dtype):
    n, h, length, n_keys, e, v_size, options = CASES[case]
    rng, scale, p = np.random.default_rng(0), 1 / math.sqrt(e), options.get("p", 0.0)
    causal, shape = options.get("causal", False), options.get("mask")
    q, k = rng.normal(size=(n, h, length, e)).astype(dtype), rng.normal(size=(n, h, n_keys, e)).astype(dtype)
    v, g = rng.normal(size=(n, h, n_keys, v_size)).astype(dtype), rng.normal(size=(n, h, length, v_size)).astype(dtype)
    mask = None
    if shape:
        mask = rng.random(shape) < 0.7 if options.get("boolean") else rng.normal(size=shape).astype(dtype)
        mask[..., 1] = False if options.get("boolean") else -np.inf  # nobody sees this one,
        mask[:, :, -1] = (
            mask[:, :, -1] if mask.shape[2] == 1 else False if options.get("boolean") else -np.inf
        )  # nor this anyone

    def run(q, k, v, g, *mask):
        found = []
        for lie in (lambda x: x, turned):
            attend = attention(q, v, mask[0] if mask else None)
            kernel = attend(lie(q), lie(k), lie(v), mask[0] if mask else None, scale, causal, p, 7)
            out, lse = kernel.forward()
            found += [out, *kernel.backward(lie(g), out, lse), kernel.factors()]
        return tuple(cupy.ascontiguousarray(x) for x in found)

    found = hard(run, q, k, v, g, *([] if mask is None else [mask]))
    drops = found[4].astype(np.float64)
    kept = (drops > 0).mean() if drops.size else 1 - p
    assert set(np.unique(drops)) <= {0, dtype(1 / (1 - p) if p < 1 else 0)} and abs(kept - (1 - p)) < 0.1
    wanted = textbook(q, k, v, g, mask, scale, causal, drops)
    for part in (found[:5], found[5:]):
        np.testing.assert_array_equal(part[4], drops)
        close(tuple(part[:4]), tuple(wanted), dtype)


def test_gradients_lie_as_what_they_belong_to():
    q, v = turned(cupy.ones((2, 3, 4, 5), np.float32)), cupy.ones((2, 3, 4, 17), np.float32)
    kernel = Attention(q, q, v, None, 1.0, False, 0.0, 0)
    out, lse = kernel.forward()
    assert out.strides == turned(v).strides and lse.shape == (2, 3, 4, 1)
    assert [x.strides for x in kernel.backward(out, out, lse)] == [q.strides, q.strides, v.strides]


def test_large_scores_do_not_overflow():
    q = cupy.full((1, 1, 2, 5), 100, np.float32)
    k, v = (np.repeat(np.float32([1, 2, 3]).reshape(1, 1, 3, 1), n, -1) for n in (5, 17))
    out, lse = Attention(q, cupy.asarray(k), cupy.asarray(v), None, 1.0, False, 0.0, 0).forward()
    np.testing.assert_array_equal(on_host(out), np.full((1, 1, 2, 17), 3))
    np.testing.assert_array_equal(on_host(lse), np.full((1, 1, 2, 1), 1500))


def test_what_is_left_to_array_code(monkeypatch):
    def like(e, dtype, length=2):
        return SimpleNamespace(
            shape=(1, 1, length, e), size=length * e, dtype=np.dtype(dtype), itemsize=np.dtype(dtype).itemsize
        )

    for e, dtype, takes in [(64, "f4", True), (128, "f4", True), (256, "f4", False), (64, "f8", True), (128, "f8", False)]:
        assert (attention(like(e, dtype), like(e, dtype), None) is not None) is takes
    assert attention(like(8, "f2"), like(8, "f2"), None) is None and _text(0, 4, 4) is None
    assert attention(like(8, "f4"), like(8, "f4"), SimpleNamespace(size=2**31)) is None
    assert attention(like(8, "f4", 2**26), like(32, "f4"), None) is None  # whose result has 2**31 numbers
    monkeypatch.setattr(precision.here, "autocast", "bfloat16")
    assert attention(like(8, "f4"), like(8, "f4"), None) is None and attention(like(8, "f8"), like(8, "f8"), None) is Attention


@pytest.mark.skipif(nvrtc.root() is None, reason='NVRTC is not installed: pip install "minidl[cuda-check]"')
@pytest.mark.parametrize(("size", "real"), [(32, "float"), (64, "float"), (128, "float"), (64, "double")])
def test_usual_sizes_compile(size, real):
    text = _text(size, size, 4 if real == "float" else 8)
    log = nvrtc.compile(loader.source("attention", text), "attention.cu", "90", (f"-DREAL={real}",))
    assert "warning" not in log and log.count(" 0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads") == 5, log

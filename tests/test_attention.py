"""Attention and the Transformer: values against plain Python numbers, in blocks as in one piece, gradients to order two."""

import copy
import gc
import math
import tracemalloc
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optable import RTOL

import minidl
import minidl.nn.functional as F
from minidl import nn
from minidl.compiler import explain
from minidl.sequences import attention
from minidl.shapes import ShapeError
from minidl.testing import gradcheck, gradgradcheck
from minidl.testing import strategies as mst

attend = F.scaled_dot_product_attention


# -- the oracle: one number at a time


def weights_of(query, keys, seen, scale):
    """One query's weights on the keys; ``seen`` has what is added to each score."""
    scores = [scale * sum(a * b for a, b in zip(query, key)) + more for key, more in zip(keys, seen)]
    top = max(scores, default=-math.inf)
    if top == -math.inf:
        return [0.0] * len(keys)
    sizes = [math.exp(score - top) for score in scores]
    return [size / math.fsum(sizes) for size in sizes]


def by_numbers(query, key, value, mask=None, causal=False, scale=None):
    """Attention, from arrays that broadcast in all but the last two dimensions."""
    lead = np.broadcast_shapes(*(x.shape[:-2] for x in (query, key, value)))
    query, key, value = (np.broadcast_to(x, (*lead, *x.shape[-2:])).astype(np.float64) for x in (query, key, value))
    n_queries, n_keys = query.shape[-2], key.shape[-2]
    scale = 1 / math.sqrt(query.shape[-1] or 1) if scale is None else scale
    added = np.zeros((*lead, n_queries, n_keys))
    if mask is not None:
        added = added + (np.where(mask, 0, -np.inf) if mask.dtype == bool else mask)
    out = np.zeros((*lead, n_queries, value.shape[-1]))
    for place in np.ndindex(*lead, n_queries):
        *example, i = place
        seen = [-math.inf if causal and j > i else more for j, more in enumerate(added[place].tolist())]
        found = weights_of(query[place].tolist(), key[tuple(example)].tolist(), seen, scale)
        for f, column in enumerate(value[tuple(example)].T.tolist()):
            out[(*place, f)] = math.fsum(w * v for w, v in zip(found, column))
    return out


@contextmanager
def cut_into(queries, block_bytes):
    """Other blocks than usual."""
    names = "QUERIES", "BLOCK_BYTES", "GPU_BLOCK_BYTES", "IN_ONE_BYTES"
    before = [getattr(attention, name) for name in names]
    for name, value in zip(names, (queries, block_bytes, block_bytes, 0)):
        setattr(attention, name, value)
    try:
        yield
    finally:
        for name, value in zip(names, before):
            setattr(attention, name, value)


@contextmanager
def threads(n):
    """So many, for as long."""
    before = minidl.get_num_threads()
    minidl.set_num_threads(n)
    try:
        yield
    finally:
        minidl.set_num_threads(before)


@st.composite
def cases(draw, dtypes, max_lead=3, min_side=0):
    """Arrays and options for `attend`; the mask, if there is one, is the last array."""
    lead = draw(mst.shapes(0, max_lead, 0 if min_side == 0 else 1, 3))
    length, size, e, v = (draw(st.integers(min_side, 5)) for _ in range(4))
    dtype = draw(dtypes) if isinstance(dtypes, st.SearchStrategy) else dtypes

    def stretched():
        cut = draw(st.integers(0, len(lead)))
        return tuple(1 if draw(st.booleans()) else n for n in lead[cut:])

    leads = [lead, *(stretched() for _ in range(2))]
    leads = draw(st.permutations(leads))
    arrays = [draw(mst.arrays((*own, *tail), dtype)) for own, tail in zip(leads, ((length, e), (size, e), (size, v)))]
    options = {"scale": draw(st.sampled_from([None, -0.3, 4.0]))}
    kind = draw(st.sampled_from([None, "causal", "bool", "float"]))
    if kind == "causal":
        options["is_causal"] = True
    elif kind is not None:
        shape = (*stretched(), draw(st.sampled_from([1, length])), draw(st.sampled_from([1, size])))
        mask = draw(mst.arrays(shape[draw(st.integers(0, len(shape))) :], minidl.bool if kind == "bool" else dtype))
        if kind == "float":
            mask = np.where(mask > 1, -np.inf, mask).astype(mask.dtype)
        arrays.append(mask)
    return arrays, options


USUAL = attention.QUERIES, attention.BLOCK_BYTES
BLOCKS = st.sampled_from([(1, 1), (3, 1), (4, 200), (8, 1000), USUAL])


@given(cases(st.sampled_from([minidl.float64, minidl.float32, minidl.float16])), BLOCKS, st.integers(1, 2))
def test_values(case, blocks, n_threads):
    arrays, options = case
    kept = [a.copy() for a in arrays]
    with cut_into(*blocks), threads(n_threads):
        out = attend(*map(minidl.from_numpy, arrays), **options)
        bare = attend(*arrays, **options)
    wanted = by_numbers(*arrays[:3], *arrays[3:], causal=options.get("is_causal", False), scale=options["scale"])
    assert out.numpy().dtype == arrays[0].dtype and not isinstance(bare, minidl.Tensor)
    rtol = 10 * RTOL[arrays[0].dtype.name]  # of exp, what rounding of its argument makes of it
    few = 0 if out.device.type == "cpu" else rtol  # the bare ones are on the CPU
    np.testing.assert_allclose(out.numpy(), bare, few, few)
    assert out.shape == wanted.shape
    np.testing.assert_allclose(out.numpy().astype(float), wanted, rtol, rtol)
    for a, before in zip(arrays, kept):
        np.testing.assert_array_equal(a, before)


@given(cases(minidl.float64, 2, 1), BLOCKS, st.integers(1, 2), st.sampled_from([0.0, 0.4]))
def test_gradients(case, blocks, n_threads, p):
    arrays, options = case
    arrays = [a / 2 for a in arrays[:3]] + arrays[3:]
    inputs = tuple(minidl.from_numpy(a).requires_grad_() for a in arrays[:3])
    mask = tuple(map(minidl.from_numpy, arrays[3:]))

    def func(*inputs):
        minidl.manual_seed(3)
        return attend(*inputs, *mask, dropout_p=p, **options)

    with cut_into(*blocks), threads(n_threads):
        assert gradcheck(func, inputs)
        assert gradgradcheck(func, inputs)


@given(cases(minidl.float64, 1, 1), st.integers(0, 2))
def test_gradients_of_the_mask(case, which):
    arrays, options = case
    options.pop("is_causal", None)
    lead = np.broadcast_shapes(*(a.shape[:-2] for a in arrays[:3]))
    shapes = [(*lead, arrays[0].shape[-2], arrays[1].shape[-2]), (arrays[0].shape[-2], 1), (arrays[1].shape[-2],)]
    inputs = tuple(minidl.from_numpy(a / 2).requires_grad_() for a in arrays[:3])
    mask = minidl.randn(shapes[which], dtype=minidl.float64, requires_grad=True)
    out, frozen = attend(*inputs, mask, **options), attend(*inputs, mask.detach(), **options)
    np.testing.assert_allclose(out.detach().numpy(), frozen.detach().numpy(), 1e-10, 1e-12)
    assert gradcheck(lambda *x: attend(*x, **options), (*inputs, mask))
    assert gradgradcheck(lambda *x: attend(*x, **options), (*inputs, mask))


def some(*shape, dtype=minidl.float64, grad=True):
    return minidl.randn(shape, dtype=dtype, requires_grad=grad)


def test_one_tensor_as_all_three():
    x, other = some(2, 3, 4), some(2, 3, 4, grad=False)
    for func in (lambda x: attend(x, x, x), lambda x: attend(x, other, x), lambda x: attend(x * 2, x, x, is_causal=True)):
        assert gradcheck(func, (x,)) and gradgradcheck(func, (x,))


@pytest.mark.parametrize("frozen", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 2)])
def test_what_is_frozen_gets_no_gradient(frozen):
    inputs = [some(2, 5, 3) for _ in range(3)]
    whole = minidl.autograd.grad(attend(*inputs).square().sum(), inputs)
    for i in frozen:
        inputs[i] = inputs[i].detach()
    attend(*inputs).square().sum().backward()
    for i, x in enumerate(inputs):
        assert (x.grad is None) == (i in frozen)
        if i not in frozen:
            np.testing.assert_allclose(x.grad.numpy(), whole[i].numpy(), 1e-12)


def test_large_scores():
    """Beyond what exp() can take, in some of the queries only: nothing overflows or vanishes, and nothing warns."""
    q, k, v = (np.random.default_rng(i).normal(size=(2, 2, 9, 4)).astype(np.float32) for i in range(3))
    for factor in (30, 300, 3000):
        large = q.copy()
        large[:, :, 4:] *= factor
        wanted = by_numbers(large, k, v)
        for blocks in ((2, 1), (256, 1 << 19)):
            with cut_into(*blocks):
                tensors = [minidl.from_numpy(x).requires_grad_() for x in (large, k, v)]
                out = attend(*tensors)
                out.sum().backward()
            np.testing.assert_allclose(out.detach().numpy(), wanted, 1e-3, 1e-4)  # scores of 3000 are exact to 1e-4
            assert all(np.isfinite(x.grad.numpy()).all() for x in tensors)
    far = attend(*(minidl.from_numpy(x) for x in (q - 90, k + 90, v)))  # all scores far below 0
    np.testing.assert_allclose(far.numpy(), by_numbers(q - 90, k + 90, v), 1e-2, 1e-2)


def test_nan_goes_through():
    q = some(3, 4, grad=False)
    q[1, 2] = math.nan
    out = attend(q, some(5, 4, grad=False), some(5, 2, grad=False)).numpy()
    np.testing.assert_array_equal(np.isnan(out), [[False] * 2, [True] * 2, [False] * 2])


def test_heads_that_serve_several():
    q, k, v = some(2, 6, 3, 4), some(2, 2, 5, 4), some(2, 3, 5, 4)
    out = attend(q, k, v, enable_gqa=True).detach().numpy()
    for head in range(6):
        alone = by_numbers(*(x.detach().numpy()[:, i] for x, i in ((q, head), (k, head // 3), (v, head // 2))))
        np.testing.assert_allclose(out[:, head], alone, 1e-10, 1e-12)
    inputs = some(1, 4, 2, 2), some(1, 2, 3, 2), some(1, 2, 3, 2)
    assert gradcheck(lambda *x: attend(*x, enable_gqa=True), inputs)


# -- dropout


def test_dropout_drops_weights():
    """Of weights that are all 1/S: each is dropped or doubled, whoever asks, and as many as p says."""
    n, heads, length, size = 3, 2, 300, 40
    q, k = minidl.zeros(n, heads, length, 4), minidl.zeros(n, heads, size, 4)
    v = minidl.eye(size).expand(n, heads, size, size)
    for blocks in ((7, 1), (64, 1 << 14), (256, 1 << 19)):
        with cut_into(*blocks):
            out = attend(q, k, v, dropout_p=0.25).numpy() * size
            again = attend(q, k, v, dropout_p=0.25).numpy() * size
        kept = out > 0
        np.testing.assert_allclose(out[kept], 1 / 0.75, 1e-5)
        assert abs(kept.mean() - 0.75) < 5 * math.sqrt(0.25 * 0.75 / kept.size)
        assert abs((kept & (again > 0)).mean() - 0.75**2) < 0.01  # drawn anew
        rows = kept.reshape(-1, size)
        assert len({row.tobytes() for row in rows}) == len(rows)  # not the same in all blocks
        assert abs(np.corrcoef(kept[0, 0].ravel(), kept[1, 1].ravel())[0, 1]) < 0.05


def test_dropout_at_its_ends():
    q, k, v = some(2, 3, 4), some(2, 5, 4), some(2, 5, 4)
    out = attend(q, k, v, dropout_p=1.0)
    out.sum().backward()
    assert not out.detach().numpy().any() and not v.grad.numpy().any() and not q.grad.numpy().any()
    state = minidl.get_rng_state()
    attend(q, k, v, dropout_p=0.0)
    assert (minidl.get_rng_state() == state).all()  # draws nothing


def test_dropout_follows_the_seed_and_no_thread():
    inputs = some(3, 4, 50, 8), some(3, 4, 60, 8), some(3, 4, 60, 8)
    found = []
    for n in (1, 2, 2):
        with cut_into(16, 1 << 12), threads(n):
            minidl.manual_seed(5)
            out = attend(*inputs, dropout_p=0.3)
            found.append((out.detach().numpy(), *(g.numpy() for g in minidl.autograd.grad(out.sum(), inputs))))
    for other in found[1:]:
        for a, b in zip(found[0], other):
            np.testing.assert_array_equal(a, b)


# -- as an op


def test_two_sweeps_and_hooks():
    inputs = [some(2, 3, 4) for _ in range(3)]
    out = attend(*inputs, is_causal=True)
    seen = []
    inputs[0].register_hook(lambda g: seen.append(g.clone()))
    out.sum().backward(retain_graph=True)
    out.sum().backward()
    np.testing.assert_array_equal(seen[0].numpy(), seen[1].numpy())
    np.testing.assert_allclose(inputs[0].grad.numpy(), 2 * seen[0].numpy())
    with pytest.raises(RuntimeError, match="scaled_dot_product_attention"):
        out.sum().backward()
    with minidl.no_grad():
        assert not attend(*inputs).requires_grad


def test_what_is_changed_in_place_is_noticed():
    for i in range(4):
        inputs = [some(2, 3, 4) for _ in range(3)] + [some(3, 3, grad=False)]
        kept = [x * 1 for x in inputs[:3]] + inputs[3:]
        out = attend(*kept)
        kept[i].mul_(2)
        with pytest.raises(RuntimeError, match="scaled_dot_product_attention.*changed in place"):
            out.sum().backward()


def test_compiled():
    """A mask that changes between calls is no constant, and dropout is drawn anew."""
    x, everything = some(2, 3, 4), minidl.ones(3, 3, dtype=minidl.bool)
    compiled = minidl.compile(lambda x, mask: attend(x, x, x, mask))
    for mask in (everything, everything, everything.clone(), everything.tril(), everything.triu()):
        np.testing.assert_allclose(compiled(x, mask).detach().numpy(), attend(x, x, x, mask).detach().numpy())
    assert "as it is written" not in explain(compiled)
    drops = minidl.compile(lambda x: attend(x, x, x, dropout_p=0.5))
    found = [drops(x).detach().numpy() for _ in range(5)]
    assert all(not np.array_equal(a, b) for a, b in zip(found, found[1:]))
    assert "as it is written" not in explain(drops)


@pytest.mark.parametrize("need_weights", [False, True])
def test_modules_compiled(need_weights):
    net, x = nn.MultiheadAttention(4, 2, batch_first=True).double(), some(2, 3, 4)
    masks = [minidl.zeros(3, 3, dtype=minidl.bool)] * 3 + [minidl.ones(3, 3, dtype=minidl.bool).triu(1)]
    padding = [minidl.tensor([[False] * 3, [False, True, True]])] * 3 + [minidl.tensor([[True] * 3, [False] * 3])]
    compiled = minidl.compile(lambda x, mask, pad: net(x, x, x, pad, need_weights, mask)[0])
    for mask, pad in zip(masks, padding):
        np.testing.assert_allclose(
            compiled(x, mask, pad).detach().numpy(), net(x, x, x, pad, need_weights, mask)[0].detach().numpy(), 1e-10, 1e-12
        )
    assert "as it is written" not in explain(compiled)


@pytest.mark.parametrize(
    "error, message, call",
    [
        (ShapeError, "at least 2 dimensions", lambda x: attend(x[0, 0], x, x)),
        (ShapeError, r"got query \(2, 3, 4\), key \(2, 3, 3\)", lambda x: attend(x, x[..., 1:], x)),
        (ShapeError, r"got query .* value \(2, 2, 4\)", lambda x: attend(x, x, x[:, 1:])),
        (ShapeError, "do not broadcast", lambda x: attend(x, x[[0, 0, 0]], x)),
        (ShapeError, "do not broadcast", lambda x: attend(x, x, x, x[0, :, :2])),
        (ShapeError, "attn_mask of shape .* does not broadcast", lambda x: attend(x, x, x, x[:, None, :, :3])),
        (RuntimeError, "not both", lambda x: attend(x, x, x, x[0, :, :3], is_causal=True)),
        (RuntimeError, "attn_mask must be boolean", lambda x: attend(x.float(), x.float(), x.float(), x[0, :, :3])),
        (RuntimeError, "attn_mask must be boolean", lambda x: attend(x, x, x, x[0, :, :3].long())),
        (RuntimeError, "wants one dtype", lambda x: attend(x, x.float(), x)),
        (TypeError, "floating dtype", lambda x: attend(x.long(), x.long(), x.long())),
        (TypeError, "'attn_mask' must be a Tensor", lambda x: attend(x, x, x, [[1.0]])),
        (TypeError, "'key' must be a Tensor", lambda x: attend(x, None, x)),
        (ValueError, "dropout_p must lie between 0 and 1", lambda x: attend(x, x, x, dropout_p=1.5)),
        (ShapeError, "no multiple", lambda x: attend(x, x[[0, 0, 0]], x[[0, 0, 0]], enable_gqa=True)),
        (ShapeError, "enable_gqa", lambda x: attend(x[0], x[0], x[0], enable_gqa=True)),
    ],
)
def test_errors(error, message, call):
    with pytest.raises(error, match=message):
        call(some(2, 3, 4, grad=False))


# -- memory


def peak(length, **options):
    """Bytes that a forward and backward pass allocates at most, over those of the inputs."""
    inputs = [some(1, 2, length, 16, dtype=minidl.float32) for _ in range(3)]
    gc.collect()
    tracemalloc.start()
    attend(*inputs, **options).sum().backward()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most


@pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"dropout_p": 0.1}])
def test_memory_grows_with_the_length(options):
    with threads(1):
        peak(64, **options)  # what is made once
        short, long = peak(2048, **options), peak(4096, **options)
    assert long < 2.2 * short, (short, long)
    assert long < 2 * 4096 * 4096  # two bytes for each pair of a query and a key of one head, where its score alone has four


# -- MultiheadAttention


def test_heads_are_attention_side_by_side():
    net = nn.MultiheadAttention(6, 3, batch_first=True).double()
    q, k = some(2, 4, 6, grad=False), some(2, 5, 6, grad=False)
    out, weights = net(q, k, k, average_attn_weights=False)
    parts = [F.linear(x, w, b) for x, w, b in zip((q, k, k), net.in_proj_weight.chunk(3), net.in_proj_bias.chunk(3))]
    found = []
    for head in range(3):
        own = [x[..., 2 * head : 2 * head + 2].detach().numpy() for x in parts]
        found.append(by_numbers(*own))
        for place in np.ndindex(2, 4):
            alone = weights_of(own[0][place], own[1][place[0]], [0.0] * 5, 1 / math.sqrt(2))
            np.testing.assert_allclose(weights[place[0], head, place[1]].detach().numpy(), alone, 1e-10)
    wanted = net.out_proj(minidl.from_numpy(np.concatenate(found, -1)))
    np.testing.assert_allclose(out.detach().numpy(), wanted.detach().numpy(), 1e-10, 1e-12)
    np.testing.assert_allclose(net(q, k, k)[1].detach().numpy(), weights.detach().numpy().mean(1), 1e-12)
    assert net(q, k, k, need_weights=False)[1] is None


@pytest.mark.parametrize("need_weights", [False, True])
def test_gradients_of_a_module(need_weights):
    net = nn.MultiheadAttention(4, 2, bias=False, add_bias_kv=True, add_zero_attn=True).double()
    mask = minidl.tensor([[False, True], [False, False]])
    assert gradcheck(lambda x: net(x, x, x, None, need_weights, mask)[0], (some(2, 2, 4),))
    assert gradgradcheck(lambda x: net(x, x, x, None, need_weights, mask)[0], (some(2, 1, 4),))


def test_a_query_that_may_look_nowhere_finds_nothing():
    net = nn.MultiheadAttention(4, 2, batch_first=True).double()
    x = some(2, 3, 4)
    pad = minidl.tensor([[False] * 3, [True] * 3])
    for need_weights in (False, True):
        out, weights = net(x, x, x, pad, need_weights)
        np.testing.assert_array_equal(out[1].detach().numpy(), np.broadcast_to(net.out_proj.bias.detach().numpy(), (3, 4)))
        if need_weights:
            assert not weights[1].detach().numpy().any()
        out.sum().backward()
        assert np.isfinite(x.grad.numpy()).all()


@pytest.mark.parametrize(
    "error, message, call",
    [
        (ValueError, "num_heads must divide embed_dim", lambda net, x: nn.MultiheadAttention(5, 2)),
        (ShapeError, "wants 3 dimensions, or 2", lambda net, x: net(x[0], x, x)),
        (ShapeError, "wants 3 dimensions, or 2", lambda net, x: net(x[None], x[None], x[None])),
        (ShapeError, "wants features", lambda net, x: net(x[..., 1:], x, x)),
        (ShapeError, "as many values as keys", lambda net, x: net(x, x, x[1:])),
        (ShapeError, "batches differ", lambda net, x: net(x, x[:, :1], x[:, :1])),
        (RuntimeError, "is_causal", lambda net, x: net(x, x, x, is_causal=True)),
        (ShapeError, "attn_mask must have shape", lambda net, x: net(x, x, x, attn_mask=minidl.zeros(3, 2))),
        (ShapeError, "attn_mask must have shape", lambda net, x: net(x, x, x, attn_mask=minidl.zeros(2, 3, 3))),
        (ShapeError, "key_padding_mask must have shape", lambda net, x: net(x, x, x, minidl.zeros(3, 2))),
        (TypeError, "attn_mask must be boolean", lambda net, x: net(x, x, x, attn_mask=minidl.zeros(3, 3).long())),
        (TypeError, "key_padding_mask must be boolean", lambda net, x: net(x, x, x, minidl.zeros(2, 3).long())),
        (TypeError, "attn_mask must be .*query's dtype", lambda net, x: net(x, x, x, attn_mask=minidl.zeros(3, 3).double())),
        (TypeError, "MultiheadAttention: key must be a tensor, got None", lambda net, x: net(x, None, x)),
        (ValueError, "between 0 and 1", lambda net, x: nn.MultiheadAttention(4, 2, 1.5)(x, x, x, need_weights=False)),
    ],
)
def test_errors_of_multihead_attention(error, message, call):
    with pytest.raises(error, match=message):
        call(nn.MultiheadAttention(4, 2), minidl.randn(3, 2, 4))


# -- positions and the cache


@pytest.mark.parametrize("features", [1, 2, 5, 6])
def test_positions(features):
    table = nn.PositionalEncoding(features, 0.0, 20).pe.numpy()
    for t, i in np.ndindex(20, features):
        angle = t / 10000 ** (2 * (i // 2) / features)
        assert table[t, i] == pytest.approx(math.cos(angle) if i % 2 else math.sin(angle), abs=2e-6)
    x = minidl.randn(3, 7, features)
    first, last = nn.PositionalEncoding(features, 0.0, batch_first=True), nn.PositionalEncoding(features, 0.0)
    np.testing.assert_allclose(first(x).numpy(), x.numpy() + first.pe.numpy()[:7], 1e-6, 1e-6)
    np.testing.assert_array_equal(last(x.transpose(0, 1)).transpose(0, 1).numpy(), first(x).numpy())
    np.testing.assert_array_equal(last(x[0]).numpy(), first(x)[0].numpy())
    assert list(first.state_dict()) == ["pe"] and not list(first.parameters())
    with pytest.raises(ShapeError, match="max_len is 5"):
        nn.PositionalEncoding(features, max_len=5)(minidl.zeros(6, 1, features))
    with pytest.raises(ValueError, match="PositionalEncoding: d_model must be at least 1, got 0"):
        nn.PositionalEncoding(0)


@pytest.mark.parametrize("shape", [(3, 2, 1), (4,), (2, 3, 2, 4)], ids=str)
def test_positions_refuse_what_would_broadcast(shape):
    with pytest.raises(ShapeError, match=r"PositionalEncoding: wants \(T, N, E\) or \(T, E\) with E = 4, got shape"):
        nn.PositionalEncoding(4)(minidl.zeros(shape))


def test_the_cache_refuses():
    with pytest.raises(ValueError, match="max_len must be at least 1, got -1"):
        nn.KVCache(-1)
    with pytest.raises(TypeError, match="order must be a list or a vector of numbers, got 1"):
        nn.KVCache(3).select(1)
    with pytest.raises(TypeError, match="order must be a list or a vector of numbers"):
        nn.KVCache(3).select(minidl.tensor(1))
    with pytest.raises(TypeError, match="max_len wants an integer, got float"):
        nn.KVCache(2.5)
    with pytest.raises(TypeError, match="keys and values must be tensors, got Tensor and NoneType"):
        nn.KVCache(3).extend(minidl.ones(1, 2, 2, 4), None)
    cache = nn.KVCache(3)
    step = minidl.ones(1, 2, 2, 4)
    with pytest.raises(RuntimeError, match="require a gradient"):
        cache.extend(step.clone().requires_grad_(), step)
    cache.extend(step, step)
    with pytest.raises(RuntimeError, match="4 tokens do not fit in max_len=3"):
        cache.extend(step, step)
    for other in (minidl.ones(2, 2, 1, 4), minidl.ones(1, 1, 1, 4), minidl.ones(1, 2, 1, 1)):
        with pytest.raises(ShapeError, match="does not go with what it holds"):
            cache.extend(other, other)
    one = minidl.ones(1, 2, 1, 4)
    with pytest.raises(RuntimeError, match="float64 does not go with what it holds, minidl.float32"):
        cache.extend(one, one.double())
    assert cache.length == 2
    # values of one token would broadcast over the places of two
    for key, value in ((step, one), (one, step), (one, minidl.ones(2, 2, 1, 4)), (one[0], one[0])):
        with pytest.raises(ShapeError, match="KVCache: wants keys"):
            nn.KVCache(3).extend(key, value)


def test_the_cache_in_another_order():
    cache, empty = nn.KVCache(4), nn.KVCache(4)
    empty.select(minidl.tensor([0]))
    first = minidl.arange(6.0).reshape(3, 1, 1, 2)
    cache.extend(first, first + 1)
    cache.select(minidl.tensor([2, 2, 0, 1]))
    key, value = cache.extend(minidl.zeros(4, 1, 1, 2), minidl.ones(4, 1, 1, 2))
    np.testing.assert_array_equal(key[:, 0, 0].numpy(), [[4, 5], [4, 5], [0, 1], [2, 3]])
    np.testing.assert_array_equal(value[:, 0, 0].numpy(), [[5, 6], [5, 6], [1, 2], [3, 4]])
    np.testing.assert_array_equal(key[:, 0, 1].numpy(), 0)


class Layer(nn.Module):
    """Causal attention with or without a cache."""

    def __init__(self):
        super().__init__()
        self.inside, self.outside = nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, x, cache=None):
        n, t, _ = x.shape
        q, k, v = (part.reshape(n, t, 2, 4).transpose(1, 2) for part in self.inside(x).chunk(3, 2))
        if cache is not None:
            k, v = cache.extend(k, v)
        return x + self.outside(attend(q, k, v, is_causal=t > 1).transpose(1, 2).reshape(n, t, 8))


@minidl.no_grad()
def test_token_by_token_equals_all_at_once():
    layers, x = [Layer().double() for _ in range(3)], some(2, 7, 8, grad=False)
    whole = x
    for layer in layers:
        whole = layer(whole)
    caches = [nn.KVCache(7) for _ in layers]
    found = []
    for piece in (x[:, :3], *x[:, 3:].split(1, 1)):  # what is given first, then one after the other
        for layer, cache in zip(layers, caches):
            piece = layer(piece, cache)
        found.append(piece.numpy())
    np.testing.assert_allclose(np.concatenate(found, 1), whole.numpy(), 1e-10, 1e-12)


# -- the Transformer


def norm_of(x, norm):
    """Layer normalisation, by numbers."""
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + norm.eps) * norm.weight.detach().numpy() + norm.bias.detach().numpy()


def network_of(x, layer):
    return layer.linear2(F.relu(layer.linear1(minidl.from_numpy(x)))).detach().numpy()


@pytest.mark.parametrize("norm_first", [False, True])
def test_layers_are_what_they_are_made_of(norm_first):
    options = {"dim_feedforward": 7, "batch_first": True, "norm_first": norm_first}
    encoder = nn.TransformerEncoderLayer(4, 2, **options).double().eval()
    decoder = nn.TransformerDecoderLayer(4, 2, **options).double().eval()
    x, memory = some(2, 5, 4, grad=False).numpy(), some(2, 3, 4, grad=False).numpy()

    def attention_of(module, x, other):
        x, other = minidl.from_numpy(x), minidl.from_numpy(other)
        return module(x, other, other)[0].detach().numpy()

    def through(layer, x, parts):
        for i, part in enumerate(parts, 1):
            norm = getattr(layer, f"norm{i}")
            x = x + part(norm_of(x, norm)) if norm_first else norm_of(x + part(x), norm)
        return x

    wanted = through(encoder, x, (lambda x: attention_of(encoder.self_attn, x, x), lambda x: network_of(x, encoder)))
    np.testing.assert_allclose(encoder(minidl.from_numpy(x)).detach().numpy(), wanted, 1e-9, 1e-11)
    parts = (
        lambda x: attention_of(decoder.self_attn, x, x),
        lambda x: attention_of(decoder.multihead_attn, x, memory),
        lambda x: network_of(x, decoder),
    )
    found = decoder(minidl.from_numpy(x), minidl.from_numpy(memory)).detach().numpy()
    np.testing.assert_allclose(found, through(decoder, x, parts), 1e-9, 1e-11)


def test_no_position_sees_what_comes_later():
    net = nn.Transformer(8, 2, 1, 2, 16, 0.0, batch_first=True).double()
    source, target = some(2, 4, 8, grad=False), some(2, 5, 8, grad=False)
    mask = nn.Transformer.generate_square_subsequent_mask(5, dtype=minidl.float64)
    before = net(source, target, tgt_mask=mask).detach().numpy()
    target[:, 3:] += 1
    after = net(source, target, tgt_mask=mask).detach().numpy()
    np.testing.assert_array_equal(before[:, :3], after[:, :3])
    assert (before[:, 3:] != after[:, 3:]).all()


def test_padding_does_not_count():
    net = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True), 2).double()
    x = some(2, 5, 8, grad=False)
    pad = minidl.tensor([[False, False, False, True, True]] * 2)
    before = net(x, src_key_padding_mask=pad).detach().numpy()
    np.testing.assert_allclose(before[:, :3], net(x[:, :3]).detach().numpy(), 1e-9, 1e-11)
    x[:, 3:] += 1
    np.testing.assert_array_equal(net(x, src_key_padding_mask=pad).detach().numpy()[:, :3], before[:, :3])


def test_the_causal_mask_is_known_when_it_is_seen():
    """Then it need not be built into the scores: attention is told ``is_causal``."""
    told = []

    class Layer(nn.TransformerEncoderLayer):
        def forward(self, src, src_mask=None, src_key_padding_mask=None, is_causal=False):
            told.append(is_causal)
            return super().forward(src, src_mask, src_key_padding_mask, is_causal)

    net = nn.TransformerEncoder(Layer(4, 1, 8, 0.0), 1)
    x, mask = minidl.randn(3, 2, 4), nn.Transformer.generate_square_subsequent_mask(3)
    outs = [net(x, m, is_causal=said).detach().numpy() for m, said in ((mask, None), (mask, False), (mask, True))]
    net(x, minidl.zeros(3, 3))
    assert told == [True, False, True, False]
    np.testing.assert_allclose(outs[0], outs[1], 1e-5, 1e-6)
    np.testing.assert_array_equal(outs[0], outs[2])


def test_masks_are_given_by_name():
    """So one's own encoder, decoder or layer may have them in any order, or take them all as ``**options``, as in PyTorch."""

    class Own(nn.Module):
        def forward(self, x, memory=None, **options):
            told.append(options)
            return x

    told, x, mask = [], minidl.ones(2, 1, 4), minidl.zeros(2, 2)
    net = nn.Transformer(4, 2, custom_encoder=Own(), custom_decoder=Own())
    net(x, x, mask, mask + 1, mask + 2)
    nn.TransformerEncoder(Own(), 1)(x, mask)
    nn.TransformerDecoder(Own(), 1)(x, x, mask, mask)
    given = [{name for name, value in options.items() if value is not None} for options in told]
    assert given == [
        {"mask"},
        {"tgt_mask", "memory_mask", "memory_is_causal"},
        {"src_mask", "is_causal"},
        {"tgt_mask", "memory_mask", "tgt_is_causal", "memory_is_causal"},
    ]
    assert told[1]["tgt_mask"][0, 0] == 1 and told[1]["memory_mask"][0, 0] == 2


@pytest.mark.parametrize("make", [lambda: nn.MultiheadAttention(4, 2), lambda: nn.TransformerEncoderLayer(4, 2, 8, 0.0)])
def test_arrays_of_numpy_are_taken_as_any_layer_takes_them(make):
    net, x = make(), np.ones((3, 2, 4), np.float32)
    n = 3 if isinstance(net, nn.MultiheadAttention) else 1
    a, b = net(*[x] * n), net(*[minidl.from_numpy(x)] * n)
    np.testing.assert_array_equal(*((out[0] if n == 3 else out).detach().numpy() for out in (a, b)))


def test_layers_are_copies():
    layer = nn.TransformerEncoderLayer(4, 2, 8)
    net = nn.TransformerEncoder(layer, 2)
    again = copy.deepcopy(net)
    parameters = [*layer.parameters(), *net.parameters(), *again.parameters()]
    assert len({id(p) for p in parameters}) == len(parameters)
    again.load_state_dict(net.state_dict())
    assert [*again.state_dict()] == [*net.state_dict()]


@pytest.mark.parametrize(
    "error, message, call",
    [
        (RuntimeError, "activation must be 'relu', 'gelu'", lambda: nn.TransformerEncoderLayer(4, 2, activation="tanh")),
        (ShapeError, "batches differ", lambda: nn.Transformer(4, 2, 1, 1, 7)(minidl.zeros(5, 2, 4), minidl.zeros(5, 3, 4))),
        (ShapeError, "d_model=4", lambda: nn.Transformer(4, 2, 1, 1, 7)(minidl.zeros(5, 2, 3), minidl.zeros(5, 2, 4))),
    ],
)
def test_errors_of_the_transformer(error, message, call):
    with pytest.raises(error, match=message):
        call()


def test_dropout_only_in_training():
    net = nn.Transformer(4, 2, 1, 1, 7, dropout=0.5, batch_first=True)
    x = minidl.randn(2, 3, 4)
    assert not np.array_equal(net(x, x).detach().numpy(), net(x, x).detach().numpy())
    net.eval()
    np.testing.assert_array_equal(net(x, x).detach().numpy(), net(x, x).detach().numpy())


def test_masks_may_be_arrays_and_lists():
    net, x = nn.MultiheadAttention(4, 2), minidl.randn(3, 2, 4)
    for name, mask in (("attn_mask", np.triu(np.ones((3, 3), bool), 1)), ("key_padding_mask", np.array([[0, 0, 1]] * 2, bool))):
        wanted = net(x, x, x, **{name: minidl.tensor(mask)})
        for other in (mask, mask.tolist()):
            for a, b in zip(net(x, x, x, **{name: other}), wanted):
                np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())

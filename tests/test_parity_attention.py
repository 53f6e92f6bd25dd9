"""Attention and the Transformer against PyTorch's: the same numbers, gradients, names and text from the same weights."""

import inspect
import itertools
import math
from pathlib import Path

import numpy as np
import pytest

import minidl
import minidl.nn.functional as F
from minidl import nn

torch = pytest.importorskip("torch")

RTOL = {"float64": 1e-9, "float32": 2e-4, "float16": 2e-2}
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # PyTorch's, of its shortcuts


def same(theirs, ours, rtol=1e-9, atol=None):
    assert tuple(theirs.shape) == tuple(ours.shape)
    assert str(theirs.dtype).partition(".")[2] == str(ours.dtype).partition(".")[2]
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol, rtol / 100 if atol is None else atol)


def with_weights_of(theirs, ours):
    """Ours, with the weights of PyTorch's module, which has them under the same names."""
    assert [*theirs.state_dict()] == [*ours.state_dict()]
    ours.load_state_dict({name: minidl.from_numpy(t.numpy().copy()) for name, t in theirs.state_dict().items()})
    return ours


def masked(rng, shape, kind):
    """A mask of the kind in which at least the first key can be seen, with True for what must not be (PyTorch's modules)."""
    if kind is None:
        return None
    if kind == "causal":
        return np.triu(np.full(shape, -np.inf), 1)
    hidden = rng.random(shape) < 0.4
    hidden[..., 0] = False
    return hidden if kind == "bool" else np.where(hidden, -np.inf, rng.normal(size=shape))


def both(function, *arrays):
    """``function(library, *tensors)`` with PyTorch and with us: what it returned, and the gradients of its floating inputs."""
    found = []
    for lib in (torch, minidl):
        tensors = [None if a is None else lib.from_numpy(np.ascontiguousarray(a)) for a in arrays]
        inputs = [t.requires_grad_() for t in tensors[:3]]
        out = function(lib, *tensors)
        weight = np.random.default_rng(1).normal(size=tuple(out.shape)).astype(arrays[0].dtype)
        (out * lib.from_numpy(weight)).sum().backward()
        found.append((out, *(t.grad for t in inputs)))
    return zip(*found)


# -- scaled_dot_product_attention


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize("lead", [(), (2,), (2, 3), (2, 1, 3)])
def test_attention(dtype, lead):
    rng = np.random.default_rng(len(lead))
    for (length, size), kind in itertools.product(
        ((4, 4), (5, 7), (7, 2), (1, 3)), (None, "causal", "bool", "float", "row", "full")
    ):
        q, k, v = (rng.normal(size=(*lead, *tail)).astype(dtype) for tail in ((length, 4), (size, 4), (size, 5)))
        mask, options = None, {"is_causal": kind == "causal", "scale": 0.7 if kind == "bool" else None}
        if kind in ("bool", "row", "full"):
            mask = rng.random({"bool": (length, size), "row": (1, size), "full": (*lead, length, size)}[kind]) < 0.6
        elif kind == "float":
            mask = np.where(rng.random((length, size)) < 0.4, -np.inf, rng.normal(size=(length, size))).astype(dtype)
        for theirs, ours in both(
            lambda lib, q, k, v, m, o=options: lib.nn.functional.scaled_dot_product_attention(q, k, v, m, **o), q, k, v, mask
        ):
            same(theirs, ours, RTOL[dtype], RTOL[dtype])


@pytest.mark.parametrize("mask", [(5,), (1,), (), (3, 1), (1, 5), (2, 3, 5), (1, 1, 3, 5), (4, 2, 1, 1)])
def test_masks_broadcast(mask):
    rng = np.random.default_rng(0)
    q, k, v = rng.normal(size=(4, 2, 3, 4)), rng.normal(size=(1, 2, 5, 4)), rng.normal(size=(4, 1, 5, 4))
    for array in (rng.normal(size=mask), rng.random(mask) < 0.8, rng.normal(size=mask).astype(np.float32)):
        for theirs, ours in both(
            lambda lib, *t: lib.nn.functional.scaled_dot_product_attention(*t), q, k, v, np.asarray(array)
        ):
            same(theirs, ours)


@pytest.mark.parametrize("sizes", [(0, 2, 3, 5), (2, 0, 3, 5), (2, 2, 0, 5), (2, 2, 3, 0), (2, 2, 0, 0)])
def test_nothing(sizes):
    n, h, length, size = sizes
    rng = np.random.default_rng(0)
    q, k, v = rng.normal(size=(n, h, length, 4)), rng.normal(size=(n, h, size, 4)), rng.normal(size=(n, h, size, 2))
    for options in ({"is_causal": False}, {"is_causal": True}, {"enable_gqa": True}):
        for theirs, ours in both(lambda lib, *x, o=options: lib.nn.functional.scaled_dot_product_attention(*x, **o), q, k, v):
            same(theirs, ours)


def test_the_same_signatures():
    functions = [getattr(getattr(torch.nn, name), m) for name in NAMES for m in ("__init__", "forward")]
    ours = [getattr(getattr(nn, name), m) for name in NAMES for m in ("__init__", "forward")]
    for a, b in zip(functions, ours):
        theirs, own = (inspect.signature(f).parameters.values() for f in (a, b))
        assert [(p.name, p.kind) for p in theirs] == [(p.name, p.kind) for p in own], b
        defaults = [(p.name, p.default) for p in theirs if not callable(p.default)]
        assert defaults == [(p.name, p.default) for p in own if not callable(p.default)], b
    said = inspect.signature(F.scaled_dot_product_attention).parameters
    wanted = "query key value attn_mask dropout_p is_causal scale enable_gqa".split()
    assert list(said) == wanted
    q = torch.randn(1, 2, 3)
    with pytest.raises(TypeError):
        torch.nn.functional.scaled_dot_product_attention(q, q, q, None, 0.0, False, 1.0)  # the last two by name only
    with pytest.raises(TypeError):
        F.scaled_dot_product_attention(*[minidl.randn(1, 2, 3)] * 3, None, 0.0, False, 1.0)


NAMES = (
    "MultiheadAttention",
    "TransformerEncoderLayer",
    "TransformerDecoderLayer",
    "TransformerEncoder",
    "TransformerDecoder",
    "Transformer",
)


@pytest.mark.parametrize(
    "call",
    [
        lambda lib, f, x: f(x[0, 0], x, x),
        lambda lib, f, x: f(x, x[..., 1:], x),
        lambda lib, f, x: f(x, x, x[:, 1:]),
        lambda lib, f, x: f(x, x, x, x[0, :, :2]),
        lambda lib, f, x: f(x, x, x, x[:, None, :, :3]),
        lambda lib, f, x: f(x, x, x, x[0, :, :3], is_causal=True),
        lambda lib, f, x: f(x, x, x, x[0, :, :3].double()),
        lambda lib, f, x: f(x, x, x, x[0, :, :3].long()),
        lambda lib, f, x: f(x, x.double(), x),
        lambda lib, f, x: f(x.long(), x.long(), x.long()),
        lambda lib, f, x: f(x, x, x, [[1.0]]),
        lambda lib, f, x: f(x, None, x),
        lambda lib, f, x: f(x, x, x, dropout_p=1.5),
        lambda lib, f, x: lib.nn.MultiheadAttention(5, 2),
        lambda lib, f, x: lib.nn.MultiheadAttention(0, 2),
        lambda lib, f, x: lib.nn.MultiheadAttention(4, 2)(x[0], x, x),
        lambda lib, f, x: lib.nn.MultiheadAttention(4, 2)(x[None], x[None], x[None]),
        lambda lib, f, x: lib.nn.MultiheadAttention(4, 2)(x[..., 1:], x, x),
        lambda lib, f, x: lib.nn.MultiheadAttention(4, 2)(x, x, x[1:]),
        lambda lib, f, x: lib.nn.MultiheadAttention(4, 2)(x, x, x, is_causal=True),
        lambda lib, f, x: lib.nn.MultiheadAttention(4, 2)(x, x, x, attn_mask=lib.zeros(2, 3)),
        lambda lib, f, x: lib.nn.MultiheadAttention(4, 2)(x, x, x, attn_mask=lib.zeros(2, 2).long()),
        lambda lib, f, x: lib.nn.MultiheadAttention(4, 2)(x, x, x, attn_mask=lib.zeros(3, 2, 2)),
        lambda lib, f, x: lib.nn.MultiheadAttention(4, 2)(x, x, x, lib.zeros(2)),
        lambda lib, f, x: lib.nn.MultiheadAttention(4, 2)(x, x, x, lib.zeros(3, 2).long()),
        lambda lib, f, x: lib.nn.TransformerEncoderLayer(4, 2, activation="tanh"),
        lambda lib, f, x: lib.nn.TransformerEncoderLayer(4, 2)(x, is_causal=True),
        lambda lib, f, x: lib.nn.TransformerEncoder(lib.nn.TransformerEncoderLayer(4, 2), 1)(x, is_causal=True),
        lambda lib, f, x: lib.nn.Transformer(4, 2, 1, 1, 7)(x, x[:, 1:]),
        lambda lib, f, x: lib.nn.Transformer(4, 2, 1, 1, 7)(x[..., 1:], x),
    ],
)
def test_what_pytorch_refuses_is_refused(call):
    for lib in (torch, minidl):
        with pytest.raises((RuntimeError, ValueError, TypeError, AssertionError, IndexError)):
            call(lib, lib.nn.functional.scaled_dot_product_attention, lib.randn(2, 3, 4))


# -- MultiheadAttention


def run(module, query, key, value, need, masks):
    """A module of either library: its outputs and all gradients."""
    lib = torch if isinstance(module, torch.nn.Module) else minidl
    made = {}

    def tensor(a):
        if a is None:
            return None
        if id(a) not in made:
            made[id(a)] = lib.from_numpy(a).requires_grad_(a.dtype.kind == "f" and a is not masks["attn_mask"])
        return made[id(a)]

    given = {name: tensor(a) if name in ("attn_mask", "key_padding_mask") else a for name, a in masks.items()}
    given["key_padding_mask"] = None if masks["key_padding_mask"] is None else lib.from_numpy(masks["key_padding_mask"])
    out, weights = module(tensor(query), tensor(key), tensor(value), need_weights=need, **given)
    (out * lib.from_numpy(np.random.default_rng(3).normal(size=tuple(out.shape)))).sum().backward()
    inputs = [made[id(a)] for a in (query, key, value)]
    return out, weights, [t.grad for t in (*inputs, *module.parameters())]


@pytest.mark.parametrize("seed", range(6))
def test_multihead_attention(seed):
    """A part of all combinations of the options, another one for each seed."""
    rng = np.random.default_rng(seed)
    kinds = itertools.product(
        *((False, True),) * 4, (None, 3), (False, True), (False, True), (None, "bool", "float", "3d", "causal"),
        (None, "bool", "float"), (2, 3),
    )  # fmt: skip
    for first, bias, bias_kv, zero, kdim, need, average, mask, pad, dims in kinds:
        if rng.random() > 0.03:
            continue
        n, length, size = 3, 5, 5 if mask == "causal" else 6
        options = {"bias": bias, "add_bias_kv": bias_kv, "add_zero_attn": zero, "kdim": kdim, "vdim": kdim}
        theirs = torch.nn.MultiheadAttention(4, 2, batch_first=first, **options).double()
        ours = with_weights_of(theirs, nn.MultiheadAttention(4, 2, batch_first=first, **options).double())

        def drawn(t, e, n=n, first=first, dims=dims):
            return rng.normal(size=(t, e) if dims == 2 else (n, t, e) if first else (t, n, e))

        query, key = drawn(length, 4), drawn(size, kdim or 4)
        value = key if rng.random() < 0.5 else drawn(size, kdim or 4)
        if kdim is None and size == length and rng.random() < 0.5:
            query = key = value
        shape = (2 * (n if dims == 3 else 1), length, size) if mask == "3d" else (length, size)
        masks = {
            "attn_mask": masked(rng, shape, "bool" if mask == "3d" else mask),
            "key_padding_mask": masked(rng, (n, size) if dims == 3 else (size,), pad),
            "is_causal": mask == "causal",
            "average_attn_weights": average,
        }
        (a, a_weights, a_grads), (b, b_weights, b_grads) = (run(m, query, key, value, need, masks) for m in (theirs, ours))
        same(a, b)
        assert (a_weights is None) == (b_weights is None) == (not need)
        if need:
            same(a_weights, b_weights)
        for x, y in zip(a_grads, b_grads):
            assert (x is None) == (y is None)
            if x is not None:
                same(x, y, 1e-8)


def test_weights_are_dropped_too():
    """What ``need_weights`` shows in training is after dropout, and with p=1 there is nothing left, with either way to it."""
    for lib in (torch, minidl):
        net, x = lib.nn.MultiheadAttention(4, 2, dropout=1.0), lib.randn(3, 2, 4)
        for need in (False, True):
            out, weights = net(x, x, x, need_weights=need)
            assert not out.detach().numpy().any()
            assert weights is None or not weights.detach().numpy().any()


def test_weights_start_as_in_pytorch():
    """By their statistics: bounds of what is drawn evenly, deviations of what is drawn normally, and zeros."""
    torch.manual_seed(0)
    for options in ({"add_bias_kv": True}, {"kdim": 40, "vdim": 30}):
        theirs, ours = torch.nn.MultiheadAttention(64, 4, **options), nn.MultiheadAttention(64, 4, **options)
        for (name, a), (_, b) in zip(theirs.named_parameters(), ours.named_parameters()):
            a, b = a.detach().numpy(), b.detach().numpy()
            assert "bias_" in name or np.abs(a).max() == pytest.approx(np.abs(b).max(), rel=0.02), name
            assert a.std() == pytest.approx(b.std(), rel=0.4 if "bias_" in name else 0.05), name
    theirs, ours = torch.nn.Transformer(64, 4, 1, 1, 128), nn.Transformer(64, 4, 1, 1, 128)
    for (name, a), (_, b) in zip(theirs.named_parameters(), ours.named_parameters()):
        assert a.detach().numpy().std() == pytest.approx(b.detach().numpy().std(), rel=0.2, abs=1e-12), name


# -- the Transformer


@pytest.mark.parametrize("norm_first, bias", [*itertools.product((False, True), (False, True))])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("first", [False, True])
def test_transformer(first, norm_first, bias, activation):
    rng = np.random.default_rng(0)
    options = {"dim_feedforward": 7, "activation": activation, "batch_first": first, "norm_first": norm_first, "bias": bias}
    theirs = torch.nn.Transformer(4, 2, 2, 2, **options).double().eval()
    ours = with_weights_of(theirs, nn.Transformer(4, 2, 2, 2, **options).double().eval())
    pad = np.zeros((3, 5), bool)
    pad[1, 3:] = True
    masks = {
        "tgt_mask": np.triu(np.full((6, 6), -np.inf), 1),
        "src_mask": masked(rng, (5, 5), "float"),
        "memory_mask": masked(rng, (6, 5), "bool"),
        "src_key_padding_mask": pad,
        "memory_key_padding_mask": pad,
    }
    for names in (
        [],
        ["tgt_mask"],
        ["tgt_mask", "src_key_padding_mask", "memory_key_padding_mask"],
        ["src_mask", "memory_mask"],
    ):
        src, tgt = (rng.normal(size=(3, t, 4) if first else (t, 3, 4)) for t in (5, 6))
        found = []
        for lib, net in ((torch, theirs), (minidl, ours)):
            inputs = [lib.from_numpy(x).requires_grad_() for x in (src, tgt)]
            out = net(*inputs, **{name: lib.from_numpy(masks[name]) for name in names})
            net.zero_grad()
            out.square().sum().backward()
            found.append([out, *(x.grad for x in inputs), *(p.grad for p in net.parameters())])
        for a, b in zip(*found):
            same(a, b, 1e-7, 1e-9)


@pytest.mark.parametrize("kind", ["none", "causal", "causal said", "3d", "padding", "unbatched"])
@pytest.mark.parametrize("norm", [False, True])
def test_stacks(kind, norm):
    """Encoder and decoder alone, with a last norm or without, and each mask in its place."""
    rng = np.random.default_rng(1)
    causal, thick = np.triu(np.full((5, 5), -np.inf), 1), masked(rng, (2 * 3, 5, 5), "bool")
    pad = masked(rng, (3, 5), "bool")
    mask = {"causal": causal, "causal said": causal, "3d": thick}.get(kind)
    x, memory = rng.normal(size=(5, 4) if kind == "unbatched" else (3, 5, 4)), rng.normal(size=(3, 6, 4))
    memory = memory[0] if kind == "unbatched" else memory
    found = []
    for lib in (torch, minidl):
        made = {}
        for name in ("Encoder", "Decoder"):
            layer = getattr(lib.nn, f"Transformer{name}Layer")(4, 2, 7, 0.0, lib.nn.functional.gelu, 1e-4, True)
            last = lib.nn.LayerNorm(4) if norm else None
            made[name] = getattr(lib.nn, f"Transformer{name}")(layer, 2, last).double()
        if found:
            for name, net in made.items():
                with_weights_of(found[0][name], net)
        given = None if mask is None else lib.from_numpy(mask)
        padding = lib.from_numpy(pad) if kind == "padding" else None
        said = True if kind == "causal said" else None
        inputs = lib.from_numpy(x).requires_grad_(), lib.from_numpy(memory)
        outs = [
            made["Encoder"](inputs[0], given, padding, said),
            made["Decoder"](*inputs, given, None, padding, tgt_is_causal=said),
        ]
        sum((out**2).sum() for out in outs).backward()
        found.append({**made, "outs": [*outs, inputs[0].grad]})
    for a, b in zip(found[0]["outs"], found[1]["outs"]):
        same(a, b, 1e-7, 1e-9)


def test_reprs():
    for name, args in (
        ("MultiheadAttention", (4, 2)),
        ("TransformerEncoderLayer", (4, 2, 8)),
        ("TransformerDecoderLayer", (4, 2, 8, 0.3)),
        ("Transformer", (4, 2, 1, 2, 8)),
    ):
        assert repr(getattr(torch.nn, name)(*args)) == repr(getattr(nn, name)(*args))


def test_the_causal_mask():
    same(torch.nn.Transformer.generate_square_subsequent_mask(4), nn.Transformer.generate_square_subsequent_mask(4))
    options = {"dtype": torch.float64}, {"dtype": minidl.float64}
    a, b = (m.generate_square_subsequent_mask(3, **o) for m, o in zip((torch.nn.Transformer, nn.Transformer), options))
    same(a, b)


# -- whole networks


def test_weights_of_an_encoder_load_from_its_file(tmp_path):
    """What PyTorch saved of an nn.TransformerEncoder loads by name and gives the same outputs."""
    options = {"d_model": 16, "nhead": 4, "dim_feedforward": 32, "batch_first": True, "norm_first": True, "activation": "gelu"}
    theirs = torch.nn.TransformerEncoder(torch.nn.TransformerEncoderLayer(**options), 3, torch.nn.LayerNorm(16)).eval()
    torch.save(theirs.state_dict(), tmp_path / "encoder.pt")
    ours = nn.TransformerEncoder(nn.TransformerEncoderLayer(**options), 3, nn.LayerNorm(16)).eval()
    ours.load_state_dict(minidl.load(tmp_path / "encoder.pt"))
    x = np.random.default_rng(0).normal(size=(2, 9, 16)).astype(np.float32)
    pad = np.zeros((2, 9), bool)
    pad[1, 6:] = True
    a = theirs(torch.from_numpy(x), src_key_padding_mask=torch.from_numpy(pad))
    b = ours(minidl.from_numpy(x), src_key_padding_mask=minidl.from_numpy(pad))
    same(a, b, 1e-4, 1e-5)


class Conv1D(torch.nn.Module):
    """GPT-2's linear layer: its weight is (in, out)."""

    def __init__(self, n_in, n_out):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(n_in, n_out) / n_in**0.5)
        self.bias = torch.nn.Parameter(torch.randn(n_out) / 10)

    def forward(self, x):
        return x @ self.weight + self.bias


class TheirAttention(torch.nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.c_attn, self.c_proj = heads, Conv1D(width, 3 * width), Conv1D(width, width)

    def forward(self, x):
        n, t, width = x.shape
        q, k, v = (p.view(n, t, self.heads, -1).transpose(1, 2) for p in self.c_attn(x).split(width, 2))
        scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])
        weights = scores.masked_fill(torch.ones(t, t, dtype=torch.bool).triu(1), -math.inf).softmax(-1)
        return self.c_proj((weights @ v).transpose(1, 2).reshape(n, t, width))


class TheirNetwork(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.c_fc, self.c_proj = Conv1D(width, 4 * width), Conv1D(4 * width, width)

    def forward(self, x):
        return self.c_proj(torch.nn.functional.gelu(self.c_fc(x), approximate="tanh"))


class TheirBlock(torch.nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.ln_1, self.attn = torch.nn.LayerNorm(width), TheirAttention(width, heads)
        self.ln_2, self.mlp = torch.nn.LayerNorm(width), TheirNetwork(width)

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class TheirGPT(torch.nn.Module):
    """GPT-2 as it is published, with its names, in PyTorch and without any shortcut."""

    def __init__(self, vocabulary, length, width, heads, layers):
        super().__init__()
        self.wte, self.wpe = torch.nn.Embedding(vocabulary, width), torch.nn.Embedding(length, width)
        self.h = torch.nn.ModuleList([TheirBlock(width, heads) for _ in range(layers)])
        self.ln_f = torch.nn.LayerNorm(width)

    def forward(self, tokens):
        x = self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1]))
        for block in self.h:
            x = block(x)
        return self.ln_f(x) @ self.wte.weight.T


def gpt_of(library):
    """The class of the example, which is PyTorch's if the one word is replaced."""
    source = (Path(__file__).parent.parent / "examples" / "gpt.py").read_text()
    network = source[source.index("class Attention") : source.index("def pick")].replace("minidl", library)
    names = {"math": math}
    exec(f"import {library}\nfrom {library} import nn\nimport {library}.nn.functional as F\n{network}", names)
    return names["GPT"]


def test_weights_of_gpt2_load_by_name(tmp_path):
    torch.manual_seed(0)
    theirs = TheirGPT(50, 12, 32, 4, 3)
    torch.save(theirs.state_dict(), tmp_path / "gpt2.pt")
    ours = gpt_of("minidl")(50, 12, 32, 4, 3)
    state = minidl.load(tmp_path / "gpt2.pt")
    turned = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
    ours.load_state_dict({name: t.T if name.endswith(turned) else t for name, t in state.items()})
    tokens = np.random.default_rng(0).integers(0, 50, (2, 12))
    a, b = theirs(torch.from_numpy(tokens)), ours(minidl.from_numpy(tokens))
    same(a, b, 1e-3, 1e-4 * float(a.detach().abs().max()))
    with minidl.no_grad():  # the same with a cache, token by token
        caches = [nn.KVCache(12) for _ in ours.h]
        steps = [ours(minidl.from_numpy(tokens[:, i : i + 1].copy()), caches).numpy() for i in range(12)]
    np.testing.assert_allclose(np.concatenate(steps, 1), b.detach().numpy(), 1e-4, 1e-4)


def losses_of(library, state, batches, steps):
    """Of the example's network, from these weights."""
    lib = {"torch": torch, "minidl": minidl}[library]
    net = gpt_of(library)(30, 16, 32, 4, 2)
    net.load_state_dict({name: lib.from_numpy(a.copy()) for name, a in state.items()})
    optimizer = lib.optim.AdamW(net.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1)
    losses = []
    for i in range(steps):
        tokens, targets = (lib.from_numpy(part.copy()) for part in (batches[i, :, :-1], batches[i, :, 1:]))
        optimizer.zero_grad()
        loss = lib.nn.functional.cross_entropy(net(tokens).flatten(0, 1), targets.flatten())
        loss.backward()
        lib.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    return np.array(losses)


def test_a_small_gpt_learns_the_same(steps=100):
    torch.manual_seed(0)
    state = {name: t.numpy().copy() for name, t in gpt_of("torch")(30, 16, 32, 4, 2).state_dict().items()}
    rng = np.random.default_rng(0)
    batches = np.cumsum(rng.integers(1, 3, (steps, 8, 17)), -1) % 30  # ones and twos added up: there is something to learn
    theirs, ours = (losses_of(library, state, batches, steps) for library in ("torch", "minidl"))
    assert theirs[-1] < theirs[0] / 2
    np.testing.assert_allclose(ours, theirs, 1e-4)

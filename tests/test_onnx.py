"""Files of `minidl.onnx.export`, run by onnxruntime, give what the model gives: also in sizes that the export has not seen."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest

import minidl
import minidl.nn.functional as F
from minidl import nn
from minidl.compiler.signature import flatten
from minidl.onnx import export

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

randn = minidl.randn


def tensors_in(x):
    found = []
    flatten(x, found, "x")
    return found


def run(data, args):
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return session.run(None, {put.name: t.numpy() for put, t in zip(session.get_inputs(), tensors_in(args))})


def compare(data, model, args, tolerance=2e-5):
    with minidl.no_grad():
        wanted = tensors_in(model(*args))
    got = run(data, args)
    assert len(got) == len(wanted)
    for g, w in zip(got, wanted):
        w = w.numpy()
        assert (g.dtype, g.shape) == (w.dtype, w.shape)
        if w.dtype.kind == "f":
            np.testing.assert_allclose(g, w, tolerance, tolerance * max(1, np.abs(w[np.isfinite(w)]).max(initial=0)))
        else:
            assert np.array_equal(g, w)


def check(model, *args, axes=None, others=(), tolerance=2e-5, **options):
    """Export with these arguments; run with them and with the others."""
    file = io.BytesIO()
    export(model, args, file, dynamic_axes=axes, **options)
    if isinstance(model, nn.Module):
        model.eval()
    for each in (args, *others):
        compare(file.getvalue(), model, each, tolerance)
    return onnx.load_from_string(file.getvalue())


def drawn(*shape, kind="float"):
    if kind == "int":
        return minidl.randint(-5, 6, shape)
    if kind == "bool":
        return randn(*shape) > 0
    if kind == "positive":
        return minidl.rand(*shape) + 0.1
    if kind == "unit":
        return minidl.rand(*shape) * 1.8 - 0.9
    return 3 * randn(*shape)


# -- ops: a function of x, (N, 3, 4), and of what kind x is. All are exported with 4 examples, and run with 4, 1 and 6.

ONE = {
    **{name: (getattr(minidl, name), "float") for name in (
        "abs atan asinh ceil cos cosh erf exp exp2 expm1 floor isfinite isinf isnan neg relu round sigmoid sign sin "
        "sinh square tan tanh trunc"
    ).split()},
    **{name: (getattr(minidl, name), "positive") for name in "log log2 log10 log1p sqrt rsqrt reciprocal".split()},
    **{name: (getattr(minidl, name), "unit") for name in "acos asin atanh".split()},
    "acosh": (lambda x: minidl.acosh(x + 1), "positive"),
    **{name: (getattr(F, name), "float") for name in (
        "elu selu celu gelu hardsigmoid hardswish hardtanh leaky_relu logsigmoid mish relu6 rrelu silu softplus softsign "
        "tanhshrink hardshrink softshrink"
    ).split()},
    "gelu, tanh": (lambda x: F.gelu(x, approximate="tanh"), "float"),
    "softplus, 3, 1": (lambda x: F.softplus(x, 3, 1), "float"),
    "clamp": (lambda x: x.clamp(-1, 2), "float"),
    "clamp of integers": (lambda x: x.clamp(min=-1), "int"),
    "clamp by tensors": (lambda x: x.clamp(x[:1], None), "float"),
    # numbers and dtypes
    "numbers": (lambda x: (2 - x) / 3 + x**2 - 1 / (x * x + 1), "float"),
    "integers": (lambda x: (2 * x - 3) // 2 + x % 3 - (-x) % 4, "int"),
    "integers by floats": (lambda x: x / 2 + 0.5 * x, "int"),
    "true division of integers": (lambda x: x / 3, "int"),
    "remainders": (lambda x: (x % 0.7, x // 0.7, minidl.fmod(x, 0.7)), "float"),
    "truncation": (lambda x: minidl.div(x, 2, rounding_mode="trunc"), "int"),
    "truncation of floats": (lambda x: minidl.div(x, 2, rounding_mode="trunc"), "float"),
    "bools and floats": (lambda x: (x > 0) * x + (x > 1), "float"),
    "double": (lambda x: x.double() + x, "float"),
    "casts": (lambda x: (x.int(), x.bool(), x.long().float()), "float"),
    "comparisons": (lambda x: (x > 1, x >= 0, x < 1, x <= 2, x == 2, x != 1), "int"),
    "logic": (lambda x: (x & ~x, x | (x == x), x ^ x, minidl.logical_and(x, x), minidl.logical_not(x)), "bool"),
    "bits": (lambda x: (x & 3, x | 4, x ^ 5, ~x), "int"),
    "where": (lambda x: minidl.where(x > 0, x, -1.0), "float"),
    "where of two dtypes": (lambda x: minidl.where(x > 0, x, x.float()), "int"),
    "masked_fill": (lambda x: x.masked_fill(x > 0, -minidl.inf), "float"),
    "maximum": (lambda x: minidl.maximum(x, x.flip(1)) - minidl.minimum(x, x.flip(2)), "float"),
    "logaddexp": (lambda x: minidl.logaddexp(x, x.flip(1)), "float"),
    "lerp": (lambda x: minidl.lerp(x, x.flip(1), 0.3), "float"),
    # shapes
    "reshape": (lambda x: x.reshape(-1, 2, 6), "float"),
    "reshape by sizes": (lambda x: x.reshape(x.shape[0] * 3, 4), "float"),
    "flatten": (lambda x: (x.flatten(), x.flatten(1), x.flatten(0, 1)), "float"),
    "permute": (lambda x: (x.permute(2, 0, 1), x.transpose(0, 1), x.mT), "float"),
    "squeeze": (lambda x: (x[:, :1].squeeze(1), x.unsqueeze(0), x[:, None, :, None]), "float"),
    "expand": (lambda x: (x[:, :1].expand(-1, 5, 4), x.expand(2, *x.shape), x[:, 0].unsqueeze(1).expand_as(x)), "float"),
    "repeat": (lambda x: (x.repeat(2, 1, 3), x.repeat_interleave(2, 1), x.tile((2,))), "float"),
    "cat": (lambda x: (minidl.cat([x, 2 * x], 1), minidl.cat([x, x]), minidl.stack([x, x], -1)), "float"),
    "cat of two dtypes": (lambda x: minidl.cat([x, x.long()], 1), "float"),
    "chunk": (lambda x: x.chunk(2, 2), "float"),
    "split": (lambda x: x.split([1, 2], 1), "float"),
    "unbind": (lambda x: x.unbind(1), "float"),
    "flip": (lambda x: (x.flip(0), x.flip(1, 2)), "float"),
    "roll": (lambda x: (x.roll(1, 1), x.roll((-1, 5), (2, 1))), "float"),
    "tril": (lambda x: (x.tril(), x.triu(1), x.tril(-1)), "float"),
    "tril of bools": (lambda x: x.tril(), "bool"),
    "pad": (lambda x: (F.pad(x, (1, 2)), F.pad(x, (0, 1, 2, 0), value=3.0), F.pad(x, (-1, 1))), "float"),
    "other pads": (lambda x: (F.pad(x, (1, 2), mode="reflect"), F.pad(x, (1, 2), mode="circular")), "float"),
    "index": (lambda x: (x[0], x[:, 1], x[:, -1, 2:], x[..., ::2], x[1:], x[:-1], x[:, :, None], x[-1, -1, -1]), "float"),
    "index by lists": (lambda x: (x[:, [2, 0, 0]], x[:, :, [True, False, True, True]]), "float"),
    "index by a constant": (lambda x: x[:, minidl.tensor([2, 0]) * 1], "float"),
    "index_select": (lambda x: minidl.index_select(x, 2, minidl.tensor([3, 0, 3])), "float"),
    "a question about constants": (lambda x: x if (minidl.tensor([1.0, 2.0]) > 0).all() else -x, "float"),
    "gather": (lambda x: x.gather(1, minidl.zeros_like(x).long()[:, :2]), "float"),
    "scatter": (lambda x: minidl.zeros_like(x).scatter(1, (x[:, :1] > 0).long(), x), "float"),
    "one_hot": (lambda x: F.one_hot(x + 5, 11), "int"),
    # many to few
    "sum": (lambda x: (x.sum(), x.sum(1), x.sum((0, 2), keepdim=True), x.sum(-1)), "float"),
    "sum of integers": (lambda x: (x.sum(1), x.prod(1)), "int"),
    "sum of bools": (lambda x: (x.sum(1), x.all(), x.any(1), x.all(2, keepdim=True)), "bool"),
    "mean": (lambda x: (x.mean(), x.mean(1), x.mean((1, 2), keepdim=True)), "float"),
    "var": (lambda x: (x.var(1), x.std(2, correction=0), x.var()), "float"),
    "extremes": (lambda x: (x.max(), x.amin(1), x.amax((1, 2)), *x.max(1), *x.min(2, keepdim=True)), "float"),
    "argmax": (lambda x: (x.argmax(), x.argmax(1), x.argmin(-1, keepdim=True)), "int"),
    "softmax": (lambda x: (x.softmax(1), x.log_softmax(-1), F.softmin(x, 2)), "float"),
    "logsumexp": (lambda x: x.logsumexp(1), "float"),
    "norm": (lambda x: (x.norm(), x.norm(dim=1), x.norm(1, 2), x.norm(3, 1, True), x.norm(minidl.inf, 2)), "float"),
    "normalize": (lambda x: (F.normalize(x), F.cosine_similarity(x, x.flip(1), 2)), "float"),
    "cumsum": (lambda x: (x.cumsum(1), x.cumsum(-1)), "float"),
    "cumsum of bools": (lambda x: x.cumsum(1), "bool"),
    "sort": (lambda x: (*x.sort(2), *x.topk(2, 1), x.argsort(1, descending=True)), "float"),
    # products
    "matmul": (lambda x: (x @ x.mT, x @ x[0, 0], x[0] @ x.mT, x[:, 0, 0] @ x[:, 1, 1]), "float"),
    "einsum": (lambda x: (minidl.einsum("nij,nkj->nik", x, x), minidl.einsum("nij->j", x)), "float"),
    "linear": (lambda x: (F.linear(x, x[0]), F.linear(x[:, 0], x[0], x[0, :3, 0])), "float"),
    # tensors made anew
    "made anew": (lambda x: x + minidl.ones(x.shape[0], 1, 4) * 2 + minidl.zeros_like(x) + minidl.arange(4), "float"),
    "counted": (lambda x: x + (minidl.arange(x.shape[0]) + minidl.arange(1.0, x.shape[0] + 1))[:, None, None], "float"),
    "halves": (lambda x: x + minidl.arange(0, x.shape[0] / 2, 0.5)[:, None, None], "float"),
    "masked": (lambda x: x[:, 0, :1] * minidl.ones(x.shape[0], x.shape[0]).tril(), "float"),
}  # fmt: skip


@pytest.mark.parametrize("name", ONE)
def test_op(name):
    function, kind = ONE[name]
    if name == "rrelu":
        function = nn.RReLU().eval()
    others = [(drawn(n, 3, 4, kind=kind),) for n in (1, 6)]
    if name in ("index", "matmul", "other pads", "var"):
        others = others[1:]  # x[1:] and the like want more than one
    check(function, drawn(4, 3, 4, kind=kind), axes={"input": [0]}, input_names=["input"], others=others)


def test_without_dimensions():
    check(lambda x: (x.sum(), x.relu(), x * 2, x.reshape(1), x.mean()), minidl.tensor(-2.5))


def test_two_sizes_in_one_number():
    """Rows of all examples and steps, and a mask that is as large as the steps."""

    def function(x):
        n, t, c = x.shape
        rows = x.reshape(n * t, c).softmax(0)
        seen = minidl.ones(t, t, dtype=minidl.bool).tril()
        return rows.reshape(n, t, c), minidl.where(seen, 1.0, 0.0) @ x, x[:, : t - 1], x[:, t - 1], minidl.arange(n * t + 3)

    axes = {"x": {0: "batch", 1: "time"}, "y": {0: "batch", 1: "time"}}
    names = ["y", "z", "first", "last", "counted"]
    model = check(function, randn(4, 5, 3), axes=axes, output_names=names, others=[(randn(1, 2, 3),), (randn(3, 9, 3),)])
    shape = [d.dim_param for d in model.graph.output[0].type.tensor_type.shape.dim]
    assert shape[:2] == ["batch", "time"]


def test_a_size_may_differ_in_the_middle_of_a_picture():
    net = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2))
    axes = {"x": {0: "batch", 2: "height", 3: "width"}}
    check(lambda x: net.eval()(x).mean((2, 3)), randn(4, 3, 17, 16), axes=axes, others=[(randn(1, 3, 40, 23),)])


# -- layers, in eval mode

CONVOLUTIONS = {
    "strided": nn.Conv2d(3, 4, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2)),
    "same": nn.Conv2d(3, 4, 4, padding="same"),
    "in groups": nn.Conv2d(3, 6, 3, groups=3, bias=False),
    "reflect": nn.Conv2d(3, 4, 3, padding=2, padding_mode="reflect"),
    "replicate": nn.ReplicationPad2d((1, 2, 0, 1)),
    "circular": nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"),
    "transposed": nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1),
    "transposed in groups": nn.ConvTranspose2d(3, 6, (2, 3), stride=(3, 1), groups=3, dilation=(1, 2), bias=False),
    "max": nn.MaxPool2d(3, 2, 1),
    "max, up": nn.MaxPool2d(3, 2, ceil_mode=True),
    "max, dilated": nn.MaxPool2d(2, 1, dilation=2),
    "mean": nn.AvgPool2d(2),
    "mean, up": nn.AvgPool2d(3, 2, 1, ceil_mode=True),
    "mean without padding": nn.AvgPool2d(3, 2, 1, count_include_pad=False),
    "adaptive mean": nn.AdaptiveAvgPool2d((3, 4)),
    "adaptive max": nn.AdaptiveMaxPool2d((1, 3)),
    "places of the largest": nn.MaxPool2d((3, 2), padding=1, return_indices=True),
    "norm": nn.LPPool2d(2, 2),
    "nearest": nn.Upsample(scale_factor=2),
    "nearest, down": nn.Upsample(size=(3, 5)),
    "bilinear": nn.Upsample(scale_factor=1.5, mode="bilinear"),
    "bilinear, corners": nn.Upsample(size=(15, 3), mode="bilinear", align_corners=True),
    "shuffled": nn.Sequential(nn.Conv2d(3, 8, 1), nn.PixelShuffle(2)),
    "windows as columns": nn.Unfold((3, 2), dilation=(1, 2), padding=1, stride=2),
    "columns as pictures": nn.Sequential(nn.Unfold(3, padding=1), nn.Fold((7, 6), 3, padding=1)),
    "batch norm": nn.BatchNorm2d(3),
    "batch norm without weights": nn.BatchNorm2d(3, affine=False),
    "instance norm": nn.InstanceNorm2d(3, affine=True),
    "instance norm, running": nn.InstanceNorm2d(3, track_running_stats=True),
    "group norm": nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4)),
    "layer norm": nn.LayerNorm((7, 6)),
    "layer norm without bias": nn.LayerNorm(6, bias=False),
    "layer norm without weights": nn.LayerNorm(6, elementwise_affine=False),
    "root mean squares": nn.RMSNorm(6),
    "local response": nn.LocalResponseNorm(3),
    "dropout": nn.Sequential(nn.Dropout(), nn.Dropout2d(), nn.AlphaDropout()),
    "prelu": nn.PReLU(3),
    "softmax2d": nn.Softmax2d(),
    "in place": nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(inplace=True), nn.SiLU(inplace=True), nn.Hardtanh(inplace=True)),
    "gated": nn.GLU(3),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_layer_of_pictures(name):
    net = CONVOLUTIONS[name]
    for module in net.modules():  # statistics that are not 0 and 1
        if getattr(module, "running_mean", None) is not None:
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    check(net, randn(4, 3, 7, 6), axes={"input": {0: "batch"}}, others=[(randn(1, 3, 7, 6),)], input_names=["input"])


LINES = [nn.Conv1d(3, 4, 3, 2, 1), nn.ConvTranspose1d(3, 4, 3, 2), nn.MaxPool1d(2), nn.AvgPool1d(2), nn.BatchNorm1d(3)]
LINES += [nn.AdaptiveAvgPool1d(2), nn.Upsample(9, mode="linear")]


@pytest.mark.parametrize("net", LINES, ids=str)
def test_layer_of_lines(net):
    check(net, randn(4, 3, 7), axes={"input": {0: "batch"}}, others=[(randn(2, 3, 7),)], input_names=["input"])


# -- sequences


@pytest.mark.parametrize(
    "options", [{}, {"num_layers": 2}, {"bidirectional": True}, {"bias": False}, {"batch_first": True}], ids=str
)
@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_recurrent(kind, options):
    net = kind(3, 5, **options)
    first = options.get("batch_first", False)

    def draw(t, n):
        return (randn(n, t, 3) if first else randn(t, n, 3),)

    axes = {"input": {int(not first): "batch", int(first): "time"}}
    check(net, *draw(6, 4), input_names=["input"], axes=axes, others=[draw(1, 1), draw(9, 3)])


def test_recurrent_with_states():
    check(nn.LSTM(3, 5), randn(4, 2, 3), (randn(1, 2, 5), randn(1, 2, 5)))
    check(nn.RNN(3, 5, nonlinearity="relu"), randn(4, 2, 3), randn(1, 2, 5))
    check(nn.LSTMCell(3, 5), randn(2, 3))
    check(nn.GRUCell(3, 5), randn(2, 3), randn(2, 5))


@pytest.mark.parametrize("mask", ["none", "causal", "bool", "blind", "float"])
def test_attention(mask):
    q, k, v = randn(4, 2, 5, 3), randn(4, 2, 6, 3), randn(4, 2, 6, 4)
    seen = randn(5, 6) > 0
    seen[:, 0], seen[2] = True, mask != "blind"
    masks = {"bool": seen, "blind": seen, "float": minidl.where(seen, 0.5, -minidl.inf)}

    def function(q, k, v):
        return F.scaled_dot_product_attention(q, k, v, masks.get(mask), is_causal=mask == "causal")

    axes = {name: {0: "batch"} for name in "qkv"}
    check(function, q, k, v, axes=axes, others=[(q[:1], k[:1], v[:1])])


@pytest.mark.parametrize("need_weights", [True, False])
def test_multihead_attention(need_weights):
    net = nn.MultiheadAttention(8, 2, batch_first=True, add_bias_kv=True)

    def function(x, pad):
        return net(x, x, x, pad, need_weights)

    net.eval()
    pad = minidl.zeros(4, 5, dtype=minidl.bool)
    pad[:, 4] = True
    axes = {"x": {0: "batch"}, "pad": {0: "batch"}}
    check(function, randn(4, 5, 8), pad, axes=axes, others=[(randn(2, 5, 8), pad[:2])])


# -- whole networks: those of the examples

sys.path.append(str(Path(__file__).resolve().parent.parent / "examples"))


def tokens(*shape):
    return minidl.randint(0, 50, shape)


def test_cifar_network():
    from cifar10 import Net

    model = check(Net(), randn(2, 3, 32, 32), axes={"x": {0: "batch"}}, others=[(randn(5, 3, 32, 32),)], verify=True)
    assert {a.name for a in model.graph.initializer} >= {"conv1.weight", "fc2.bias"}
    assert [d.dim_param or d.dim_value for d in model.graph.output[0].type.tensor_type.shape.dim] == ["batch", 10]


def test_example(tmp_path, monkeypatch, capsys):
    predict = pytest.importorskip("predict", reason="what the examples draw with is not installed")
    path = tmp_path / "net.onnx"
    monkeypatch.setattr(sys, "argv", ["predict.py", "--smoke", "--export", str(path)])
    predict.main()
    assert "%" in capsys.readouterr().out
    assert run(path.read_bytes(), (randn(7, 3, 32, 32),))[0].shape == (7, 10)


def test_resnet():
    from resnet_cifar10 import ResNet20

    net = ResNet20()
    net(randn(4, 3, 32, 32))  # statistics of a batch
    check(net, randn(4, 3, 32, 32), axes={"x": {0: "batch"}}, others=[(randn(1, 3, 32, 32),)])


def test_char_rnn():
    from char_rnn import CharRNN

    net = CharRNN(50, 16, 2)
    check(net, tokens(4, 5), axes={"tokens": {0: "batch", 1: "time"}}, others=[(tokens(1, 1),), (tokens(3, 20),)])
    state = tuple(randn(2, 4, 16) for _ in range(2))  # a step of generation, from the state before it
    axes = {"tokens": {0: "batch"}, "state_0": {1: "batch"}, "state_1": {1: "batch"}}
    check(net, tokens(4, 1), state, axes=axes, others=[(tokens(1, 1), tuple(s[:, :1] for s in state))])


def test_gpt():
    from gpt import GPT

    others = [(tokens(1, 1),), (tokens(2, 32),)]
    check(GPT(50, 32, 16, 2, 2), tokens(4, 8), axes={"tokens": {0: "batch", 1: "time"}}, others=others)


def test_translator():
    from translate import Translator

    axes = {"source": {0: "batch", 1: "read"}, "answer": {0: "batch", 1: "written"}}
    others = [(tokens(1, 9), tokens(1, 1)), (tokens(3, 40), tokens(3, 10))]
    check(Translator(50, 40), tokens(4, 7), tokens(4, 5), axes=axes, others=others)


def test_the_newest_operators_too():
    newest = min(onnx.defs.onnx_opset_version(), 22)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(100, 3), nn.Softmax(1))
    model = check(net, randn(2, 3, 7, 7), opset_version=newest)
    assert model.opset_import[0].version == newest


# -- the file, and the model afterwards


def test_file_and_model(tmp_path):
    net = nn.Sequential(nn.Linear(3, 4), nn.Dropout(), nn.Sequential(nn.BatchNorm1d(4)))
    net[2].eval()
    before = {name: t.clone() for name, t in net.state_dict().items()}
    x = randn(2, 3)
    kept = x.clone()
    path = tmp_path / "net.onnx"
    export(net, x, path)
    assert [m.training for m in net.modules()] == [True, True, True, False, False]
    assert minidl.equal(x, kept) and all(minidl.equal(before[name], t) for name, t in net.state_dict().items())
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]
    assert onnx.load(path).graph.node[0].doc_string.startswith("linear, ")


def test_a_change_in_place_is_a_new_value():
    def function(x):
        y = x * 2
        z = y + 1
        y += z
        y.mul_(3).clamp_(-4, 4)
        return y, z

    x = randn(2, 3)
    kept = x.clone()
    check(function, x)
    assert minidl.equal(x, kept)


def test_what_has_no_entry_is_named_with_its_line():
    def function(x):
        return x.relu().unfold(0, 2, 1) + 1

    with pytest.raises(NotImplementedError, match=r"unfold \(.*test_onnx.py:\d+\)"):
        export(function, randn(3, 3), io.BytesIO())


class Hooked(nn.Linear):
    def __init__(self):
        super().__init__(3, 3)
        self.register_forward_hook(lambda module, args, out: out * 2)


PARAMETER = nn.Parameter(minidl.zeros(3))
REFUSED = {
    "a number leaves": (lambda x: x * x.sum().item(), "item"),
    "a question in Python": (lambda x: x if (x > 0).all() else -x, "test_onnx.py"),
    "random numbers": (lambda x: x + randn(3), "random"),
    "an index tensor": (lambda x: x[x[0].argsort()], "index"),
    "a part changed in place": (lambda x: (x * 1).__setitem__(0, 0.0), "in place"),
    "a view changed in place": (lambda x: (x * 1)[0].add_(1), "in place"),
    "something with views changed in place": (lambda x: (y := x * 1, y[0], y.add_(1))[1:], "in place"),
    "a parameter changed in place": (lambda x: x + PARAMETER.add_(1), "in place"),
    "a cache": (lambda x: nn.KVCache(3).extend(x[None, None], x[None, None])[0], "in place"),
    "no tensor": (lambda x: (x, 3), "3"),
    "hooks": (Hooked(), "hooks"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_depends_on_more_than_ops_is_refused(name, tmp_path):
    function, said = REFUSED[name]
    with pytest.raises(RuntimeError, match=said):
        export(function, randn(3, 3), tmp_path / "x.onnx")
    assert not [*tmp_path.iterdir()]
    assert not PARAMETER.any()


SIZED = {
    "other ops": lambda x: x.relu() if x.shape[0] % 2 else x,
    "no product of sizes": lambda x: x[: x.shape[0] // 2],
    "other numbers": lambda x: x + minidl.linspace(0, 1, x.shape[0])[:, None],
    "a factor": lambda x: x / x.shape[0] ** 0.5,
    "turned round": lambda x: x.roll(1, 0),
    "all turned round": lambda x: x.roll(1),
}


@pytest.mark.parametrize("name", SIZED)
def test_what_depends_on_sizes_in_no_simple_way_is_refused(name):
    export(SIZED[name], randn(5, 3), io.BytesIO())
    with pytest.raises(RuntimeError, match="size|depends"):
        export(SIZED[name], randn(5, 3), io.BytesIO(), dynamic_axes={"x": {0: "batch"}})


def test_arguments():
    net, x, file = nn.Linear(3, 2), randn(2, 3), io.BytesIO()
    for error, said, options in [
        (ValueError, "input_names must be 1", {"input_names": ["a", "b"]}),
        (ValueError, "output_names must be 1", {"output_names": ["a", "b"]}),
        (ValueError, "output_names", {"input_names": ["a"], "output_names": ["a"]}),
        (ValueError, "dynamic_axes names", {"dynamic_axes": {"z": [0]}}),
        (ValueError, "has no axis 2", {"dynamic_axes": {"input": [2]}}),
        (
            ValueError,
            "axis 1 of the output 'y' is 2",
            {"output_names": ["y"], "dynamic_axes": {"input": [0], "y": {1: "wide"}}},
        ),
        (ValueError, "opset_version", {"opset_version": 17}),
        (TypeError, "unexpected", {"training": True}),
    ]:
        with pytest.raises(error, match=said):
            export(net, x, file, **options)
    with pytest.raises(ValueError, match="wants one"):
        export(lambda a, b: a.sum() + b.sum(), (x, x[:1]), file, dynamic_axes={"a": {0: "n"}, "b": {0: "n"}})
    with pytest.raises(TypeError, match="f must be"):
        export(net, x)
    with pytest.raises(TypeError, match="model"):
        export(x, x, file)
    assert not file.getvalue()


def test_verify_finds_a_difference(monkeypatch):
    from minidl.onnx.table import ENTRIES
    from minidl.ops.elementwise import relu

    monkeypatch.setitem(ENTRIES, relu.op, lambda g, x: g.add("Neg", x))
    with pytest.raises(RuntimeError, match="'output' differs"):
        export(nn.ReLU(), randn(2), io.BytesIO(), verify=True)

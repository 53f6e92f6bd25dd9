"""Losses, distances, embedding and dropout against PyTorch's: every argument, random shapes, refusals, modules."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minidl
from minidl.testing import strategies as mst

torch = pytest.importorskip("torch")
REFUSALS = (RuntimeError, ValueError, TypeError, IndexError, AssertionError, NotImplementedError)
REDUCTIONS = ["mean", "sum", "none"]


def outcome(lib, call, arrays, wanted, g_seed):
    """Result and gradients, or None where it is refused."""
    tensors = [lib.tensor(a) for a in arrays]
    for i in wanted:
        tensors[i].requires_grad_()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            out = call(lib, lib.nn.functional, *tensors)
    except REFUSALS:
        return None
    if not wanted:
        return [out.detach().numpy()]
    g = np.random.default_rng(g_seed).normal(size=tuple(out.shape))
    grads = lib.autograd.grad(out, [tensors[i] for i in wanted], lib.tensor(g, dtype=out.dtype), allow_unused=True)
    return [out.detach().numpy(), *(np.zeros(()) if v is None else v.numpy() for v in grads)]


def same(call, arrays, wanted=(0,), rtol=1e-9, seed=0):
    theirs, ours = (outcome(lib, call, arrays, wanted, seed) for lib in (torch, minidl))
    assert (theirs is None) == (ours is None), f"PyTorch: {theirs}; here: {ours}"
    for a, b in zip(theirs or [], ours or []):
        assert a.dtype == b.dtype and a.shape == b.shape
        np.testing.assert_allclose(b, a, rtol, 1e-11)


def signs(rng, shape):
    return rng.choice([-1.0, 1.0], shape)


def number(rng, shape):
    return rng.choice([rng.normal(size=shape), np.round(rng.normal(size=shape) * 2) / 2])  # now and then at the kinks


def chance(rng, shape):
    return rng.uniform(0.01, 0.99, shape)


def count(rng, shape):
    return rng.integers(0, 6, shape).astype(float)


def positive(rng, shape):
    return rng.uniform(0.1, 2, shape)


PAIRS = {  # name -> (what is drawn, its options, which arguments get a gradient)
    "mse_loss": ((number, number), {}, (0, 1)),
    "l1_loss": ((number, number), {}, (0, 1)),
    "smooth_l1_loss": ((number, number), {"beta": [1.0, 0.5, 0.0]}, (0, 1)),
    "huber_loss": ((number, number), {"delta": [1.0, 0.5]}, (0, 1)),
    "binary_cross_entropy": ((chance, chance), {}, (0, 1)),
    "binary_cross_entropy_with_logits": ((number, chance), {}, (0, 1)),
    "kl_div": ((number, chance), {"log_target": [False, True]}, (0, 1)),
    "poisson_nll_loss": ((positive, count), {"log_input": [True, False], "full": [False, True], "eps": [1e-8, 0.5]}, (0,)),
    "soft_margin_loss": ((number, signs), {}, (0,)),
    "hinge_embedding_loss": ((number, signs), {"margin": [1.0, 0.5]}, (0,)),
    "margin_ranking_loss": ((number, number, signs), {"margin": [0.0, 0.5]}, (0, 1)),
    "multilabel_soft_margin_loss": ((number, chance), {}, (0,)),
    "gaussian_nll_loss": ((number, number, positive), {"full": [False, True], "eps": [1e-6, 0.5]}, (0, 1, 2)),
}


@pytest.mark.parametrize("name", PAIRS)
@given(mst.shapes(max_dims=3, max_side=3), mst.seeds(), st.data())
def test_losses_of_pairs(name, shape, seed, data):
    draws, table, wanted = PAIRS[name]
    if name == "multilabel_soft_margin_loss" and 0 in shape[-1:]:
        return  # PyTorch divides by the number of classes
    rng = np.random.default_rng(seed)
    options = {key: data.draw(st.sampled_from(values)) for key, values in table.items()}
    options["reduction"] = data.draw(st.sampled_from(REDUCTIONS + ["batchmean"] * (name == "kl_div")))
    if not math.prod(shape) and options["reduction"] in ("mean", "batchmean"):
        options["reduction"] = "sum"
    same(lambda lib, F, *t: getattr(F, name)(*t, **options), [d(rng, shape) for d in draws], wanted)


@pytest.mark.parametrize("name", ["multilabel_soft_margin_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits"])
@given(mst.shapes(min_dims=1, max_dims=3, min_side=1, max_side=3), mst.seeds(), st.sampled_from(REDUCTIONS), st.data())
def test_weights_that_broadcast(name, shape, seed, reduction, data):
    rng = np.random.default_rng(seed)
    arrays = [chance(rng, shape), chance(rng, shape), positive(rng, shape[data.draw(st.integers(0, len(shape))) :])]
    same(lambda lib, F, x, y, w: getattr(F, name)(x, y, w, reduction=reduction), arrays)
    if name.endswith("logits"):
        same(lambda lib, F, x, y, w: getattr(F, name)(x, y, pos_weight=w, reduction=reduction), arrays, (0, 1))


@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "huber_loss"])
@given(mst.shapes(max_dims=2, min_side=1, max_side=3), mst.seeds(), st.sampled_from(REDUCTIONS), st.booleans())
def test_weights_of_elements(name, shape, seed, reduction, fits):
    rng = np.random.default_rng(seed)
    arrays = [number(rng, shape), number(rng, shape), positive(rng, shape if fits else (*shape, 2))]
    same(lambda lib, F, x, y, w: getattr(F, name)(x, y, reduction=reduction, weight=w), arrays, (0, 1, 2))


@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"])
@pytest.mark.parametrize("other", [(3,), (2, 1), (4,), ()])
def test_shapes_that_broadcast(name, other):
    rng = np.random.default_rng(0)
    same(lambda lib, F, x, y: getattr(F, name)(x, y), [number(rng, (2, 3)), number(rng, other)], (0, 1))


# -- over classes


@st.composite
def classified(draw):
    classes, rest = draw(st.integers(1, 4)), draw(mst.shapes(0, 3, 0, 3))
    rng = np.random.default_rng(draw(mst.seeds()))
    shape = (rest[0], classes, *rest[1:]) if rest else (classes,)
    target = np.array(rng.integers(0, classes, rest))
    options = {"ignore_index": draw(st.sampled_from([-100, 0, -1])), "reduction": draw(st.sampled_from(REDUCTIONS))}
    if options["ignore_index"] < 0 and target.size > 1:
        target.reshape(-1)[0] = options["ignore_index"]
    weight = positive(rng, draw(st.sampled_from([(classes,), (classes,), (classes,), (classes + 1,), ()])))
    return [3 * rng.normal(size=shape), target, weight], options


@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
@given(classified(), st.booleans(), st.sampled_from([0.0, 0.0, 0.2, 1.0]))
def test_class_numbers(name, drawn, weighted, smoothing):
    arrays, options = drawn
    if name == "cross_entropy":
        options["label_smoothing"] = smoothing
    if not arrays[0].size and (smoothing or arrays[2].shape != arrays[0].shape[1:2]):
        return  # of nothing PyTorch looks less closely
    same(lambda lib, F, x, y, w: getattr(F, name)(x, y, w if weighted else None, **options), arrays)


@given(mst.shapes(1, 4, 1, 3), mst.seeds(), st.sampled_from(REDUCTIONS), st.sampled_from([0.0, 0.3]), st.booleans())
def test_class_probabilities(shape, seed, reduction, smoothing, weighted):
    rng = np.random.default_rng(seed)
    arrays = [3 * rng.normal(size=shape), chance(rng, shape), positive(rng, shape[1:2] or shape)]
    options = {"reduction": reduction, "label_smoothing": smoothing}
    same(lambda lib, F, x, y, w: F.cross_entropy(x, y, w if weighted else None, **options), arrays, (0, 1, 2))


@given(mst.seeds(), st.sampled_from([1, 2]), st.sampled_from([1.0, 0.3, -0.5]), st.sampled_from(REDUCTIONS), st.booleans())
def test_multi_margin(seed, p, margin, reduction, weighted):
    rng = np.random.default_rng(seed)
    n, classes = rng.integers(1, 4, 2)
    arrays = [number(rng, (n, classes)), rng.integers(0, classes, n), positive(rng, classes)]
    options = {"p": p, "margin": margin, "reduction": reduction}
    same(lambda lib, F, x, y, w: F.multi_margin_loss(x, y, weight=w if weighted else None, **options), arrays)
    same(lambda lib, F, x, y, w: F.multi_margin_loss(x[0], y[0], **options), arrays)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("shape", [(7, 5), (3, 40, 4, 3)])
def test_cross_entropy_in_narrow_dtypes(dtype, shape):
    rng = np.random.default_rng(0)
    x, y = (4 * rng.normal(size=shape)).astype(dtype), rng.integers(0, shape[1], (shape[0], *shape[2:]))
    found = []
    for lib in (torch, minidl):
        t = lib.tensor(x, requires_grad=True)
        out = lib.nn.functional.cross_entropy(t, lib.tensor(y))
        out.backward()
        found.append((out.detach().numpy(), t.grad.numpy()))
    for a, b in zip(*found):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(b, a, 4e-3 if dtype == "float16" else 2e-5, 1e-4 if dtype == "float16" else 1e-7)


# -- vectors


@given(mst.shapes(1, 3, 1, 3), mst.seeds(), st.data())
def test_distances(shape, seed, data):
    rng = np.random.default_rng(seed)
    a, b = number(rng, shape), number(rng, shape[data.draw(st.integers(0, len(shape) - 1)) :])
    dim, eps = data.draw(st.integers(-len(shape), len(shape) - 1)), data.draw(st.sampled_from([1e-8, 0.7]))
    same(lambda lib, F, x, y: F.cosine_similarity(x, y, dim, eps), [a, b], (0, 1), 1e-7)
    p, keepdim = data.draw(st.sampled_from([1.0, 2.0, 3.0, math.inf, 0.0])), data.draw(st.booleans())
    same(lambda lib, F, x, y: F.pairwise_distance(x, y, p, eps, keepdim), [a, b], (0, 1) if p else (), 1e-7)
    same(lambda lib, F, x: F.normalize(x, p, dim, eps) if p else x, [a], (0,), 1e-7)


@given(st.integers(1, 3), st.integers(1, 3), mst.seeds(), st.data())
def test_triplets_and_cosines(n, d, seed, data):
    rng = np.random.default_rng(seed)
    arrays = [number(rng, (n, d)) for _ in range(3)]
    options = {
        "margin": data.draw(st.sampled_from([1.0, 0.2])),
        "swap": data.draw(st.booleans()),
        "reduction": data.draw(st.sampled_from(REDUCTIONS)),
    }
    p, eps = data.draw(st.sampled_from([1.0, 2.0, 3.0])), data.draw(st.sampled_from([1e-6, 0.1]))
    same(lambda lib, F, *t: F.triplet_margin_loss(*t, p=p, eps=eps, **options), arrays, (0, 1, 2), 1e-7)
    same(lambda lib, F, *t: F.triplet_margin_with_distance_loss(*t, **options), arrays, (0, 1, 2), 1e-7)
    del options["swap"]
    options["margin"] -= 0.5
    sides = signs(rng, n)
    same(lambda lib, F, x, y, s: F.cosine_embedding_loss(x, y, s, **options), [*arrays[:2], sides], (0, 1), 1e-7)
    same(lambda lib, F, x, y, s: F.cosine_embedding_loss(x[0], y[0], s[0], **options), [*arrays[:2], sides], (0, 1), 1e-7)


@given(mst.shapes(0, 2, 1, 3), mst.seeds(), st.booleans())
def test_bilinear(lead, seed, biased):
    rng = np.random.default_rng(seed)
    arrays = [rng.normal(size=s) for s in ((*lead, 3), (*lead, 2), (4, 3, 2), (4,))]
    same(lambda lib, F, x, y, w, b: F.bilinear(x, y, w, b if biased else None), arrays, (0, 1, 2), 1e-9)


# -- embedding, one_hot


@given(mst.shapes(max_dims=3, max_side=3), mst.seeds(), st.data())
def test_embedding(shape, seed, data):
    rng = np.random.default_rng(seed)
    n = data.draw(st.integers(1, 4))
    arrays = [3 * rng.normal(size=(n, 3)), rng.integers(-(rng.random() < 0.1), n + (rng.random() < 0.1), shape)]
    options = {
        "padding_idx": data.draw(st.sampled_from([None, 0, -1, n - 1, n])),
        "max_norm": data.draw(st.sampled_from([None, None, 2.0])),
        "norm_type": data.draw(st.sampled_from([2.0, 1.0])),
        "scale_grad_by_freq": data.draw(st.booleans()),
    }
    same(lambda lib, F, w, i: F.embedding(i, w, **options), arrays, (0,), 1e-6)

    def renormed(lib, F, w, i):
        with lib.no_grad():
            F.embedding(i, w, **options)
            return w.clone()

    theirs, ours = (outcome(lib, renormed, arrays, (), 0) for lib in (torch, minidl))
    if theirs is not None:
        np.testing.assert_allclose(ours[0], theirs[0], 1e-6)


@pytest.mark.parametrize("values", [[0, 2, 1], [[1], [0]], 2, [], [-1, 0], [5]])
@pytest.mark.parametrize("num_classes", [-1, 3, 6])
def test_one_hot(values, num_classes):
    same(lambda lib, F, i: F.one_hot(i, num_classes), [np.array(values, np.int64)], ())


# -- dropout, where nothing is left to chance


@pytest.mark.filterwarnings("ignore:dropout2d")
@pytest.mark.parametrize("name", ["dropout", "dropout1d", "dropout2d", "alpha_dropout", "feature_alpha_dropout"])
@pytest.mark.parametrize("ndim", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize(("p", "training"), [(0.0, True), (1.0, True), (0.5, False), (1.5, True), (-0.1, False)])
def test_dropout(name, ndim, p, training):
    x = np.random.default_rng(0).normal(size=(2, 3, 2, 2, 2)[:ndim])
    same(lambda lib, F, t: getattr(F, name)(t, p, training), [x])
    same(lambda lib, F, t: getattr(F, name)(t * 1, p, training, True), [x])


# -- modules


MODULES = {
    "KLDivLoss": lambda nn: nn.KLDivLoss(reduction="batchmean", log_target=True),
    "PoissonNLLLoss": lambda nn: nn.PoissonNLLLoss(False, True, eps=0.1, reduction="sum"),
    "GaussianNLLLoss": lambda nn: nn.GaussianNLLLoss(full=True, eps=0.3),
    "SoftMarginLoss": lambda nn: nn.SoftMarginLoss(),
    "MultiLabelSoftMarginLoss": lambda nn: nn.MultiLabelSoftMarginLoss(),
    "HingeEmbeddingLoss": lambda nn: nn.HingeEmbeddingLoss(0.4),
    "MarginRankingLoss": lambda nn: nn.MarginRankingLoss(0.4),
    "TripletMarginLoss": lambda nn: nn.TripletMarginLoss(0.4, 1.0, 0.1, True),
    "TripletMarginWithDistanceLoss": lambda nn: nn.TripletMarginWithDistanceLoss(margin=0.4, swap=True),
    "TripletMarginWithDistanceLoss cosine": lambda nn: nn.TripletMarginWithDistanceLoss(
        distance_function=nn.CosineSimilarity()
    ),
    "CosineSimilarity": lambda nn: nn.CosineSimilarity(0, 0.1),
    "PairwiseDistance": lambda nn: nn.PairwiseDistance(1.0, 0.1, True),
}


@pytest.mark.parametrize("name", MODULES)
def test_modules(name):
    rng = np.random.default_rng(0)
    arrays = rng.uniform(0.1, 2, (3, 4, 3))
    theirs, ours = MODULES[name](torch.nn), MODULES[name](minidl.nn)
    assert repr(ours) == repr(theirs) and list(ours.state_dict()) == list(theirs.state_dict())
    n = 3 if "Triplet" in name or name in ("GaussianNLLLoss", "MarginRankingLoss") else 2
    same(lambda lib, F, *t: (theirs if lib is torch else ours)(*t), list(arrays[:n]), (0, 1)[: 1 + (name != "SoftMarginLoss")])


@pytest.mark.parametrize(
    "make",
    [
        lambda lib: lib.nn.MultiMarginLoss(2, 0.5, lib.ones(3)),
        lambda lib: lib.nn.CosineEmbeddingLoss(0.1),
        lambda lib: lib.nn.Embedding(4, 3, padding_idx=-1, max_norm=2, norm_type=1.0, scale_grad_by_freq=True),
        lambda lib: lib.nn.Embedding.from_pretrained(lib.ones(4, 3)),
        lambda lib: lib.nn.Bilinear(2, 3, 4, bias=False),
        lambda lib: lib.nn.Dropout1d(0.3),
        lambda lib: lib.nn.Dropout2d(0.3, True),
        lambda lib: lib.nn.AlphaDropout(),
        lambda lib: lib.nn.FeatureAlphaDropout(),
    ],
)
def test_text_and_state(make):
    theirs, ours = make(torch), make(minidl)
    assert repr(ours) == repr(theirs)
    assert {k: tuple(v.shape) for k, v in theirs.state_dict().items()} == {k: v.shape for k, v in ours.state_dict().items()}
    assert [p.requires_grad for p in theirs.parameters()] == [p.requires_grad for p in ours.parameters()]


@pytest.mark.parametrize(
    "call",
    [
        lambda lib, F: F.cross_entropy(lib.ones(2, 3), lib.ones(2, 3), ignore_index=1),
        lambda lib, F: F.cross_entropy(lib.ones(2, 3), lib.ones(2, 3).long()),
        lambda lib, F: F.cross_entropy(lib.ones(2, 3).long(), lib.tensor([0, 1])),
        lambda lib, F: F.cross_entropy(lib.ones(2, 3), lib.tensor([0, 1]), lib.ones(3).requires_grad_()),
        lambda lib, F: F.cross_entropy(lib.tensor(1.0), lib.tensor(0)),
        lambda lib, F: F.cross_entropy(lib.ones(2, 3), lib.tensor([0, 1]), label_smoothing=1.1),
        lambda lib, F: F.multi_margin_loss(lib.ones(2, 3), lib.tensor([0, 1]), p=3),
        lambda lib, F: F.multi_margin_loss(lib.ones(2, 3), lib.tensor([0, 1]), weight=lib.ones(3).requires_grad_()),
        lambda lib, F: F.margin_ranking_loss(lib.ones(2, 3), lib.ones(3), lib.ones(2, 3)),
        lambda lib, F: F.cosine_embedding_loss(lib.ones(2, 3), lib.ones(2, 3), lib.tensor(1.0)),
        lambda lib, F: F.gaussian_nll_loss(lib.ones(2, 3), lib.ones(2, 3), -lib.ones(2, 3)),
        lambda lib, F: F.gaussian_nll_loss(lib.ones(2, 3), lib.ones(2, 3), lib.ones(1, 1)),
        lambda lib, F: F.huber_loss(lib.ones(2), lib.ones(2), delta=0.0),
        lambda lib, F: F.smooth_l1_loss(lib.tensor([1]), lib.tensor([3]), reduction="sum"),
        lambda lib, F: F.kl_div(lib.tensor([1]), lib.tensor([3]), reduction="sum"),
        lambda lib, F: F.binary_cross_entropy(lib.ones(2), lib.ones(2) * 2),
        lambda lib, F: F.embedding(lib.tensor([0.0]), lib.ones(2, 3)),
        lambda lib, F: F.embedding(lib.tensor([0]), lib.ones(3)),
        lambda lib, F: F.bilinear(lib.ones(2, 3), lib.ones(1, 3), lib.ones(4, 3, 3)),
        lambda lib, F: F.cosine_similarity(lib.tensor([1, 2]), lib.tensor([1, 2]), 0),
    ],
)
def test_both_refuse(call):
    for lib in (torch, minidl):
        with pytest.raises(REFUSALS):
            call(lib, lib.nn.functional)

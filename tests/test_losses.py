"""Losses and distances: against loops over plain numbers, in all reductions, to gradients of order two."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minidl
import minidl.nn.functional as F
from minidl import nn
from minidl.shapes import ShapeError
from minidl.testing import KinkWarning, gradcheck, gradgradcheck
from minidl.testing import strategies as mst


def signs(rng, shape):
    return rng.choice([-1.0, 1.0], shape)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def huber(d, delta):
    return d * d / 2 if abs(d) <= delta else delta * (abs(d) - delta / 2)


# name -> (loss, the same of single numbers, what is drawn for each argument)
def number(rng, shape):
    return rng.normal(size=shape)


def chance(rng, shape):
    return rng.uniform(0.05, 0.95, shape)


def count(rng, shape):
    return rng.integers(0, 5, shape).astype(float)


def positive(rng, shape):
    return rng.uniform(0.5, 2, shape)


ELEMENTWISE = {
    "mse": (F.mse_loss, lambda x, y: (x - y) ** 2, (number, number)),
    "l1": (F.l1_loss, lambda x, y: abs(x - y), (number, number)),
    "huber": (F.huber_loss, lambda x, y, delta=1.0: huber(x - y, delta), (number, number)),
    "smooth_l1": (F.smooth_l1_loss, lambda x, y, beta=1.0: huber(x - y, beta) / beta, (number, number)),
    "bce": (F.binary_cross_entropy, lambda x, y: -y * math.log(x) - (1 - y) * math.log(1 - x), (chance, chance)),
    "logits": (
        F.binary_cross_entropy_with_logits,
        lambda x, y: -y * math.log(sigmoid(x)) - (1 - y) * math.log(1 - sigmoid(x)),
        (number, chance),
    ),
    "kl": (F.kl_div, lambda x, y: y * (math.log(y) - x), (number, chance)),
    "kl log": (
        lambda x, y, **o: F.kl_div(x, y, log_target=True, **o),
        lambda x, y: math.exp(y) * (y - x),
        (number, number),
    ),
    "poisson": (F.poisson_nll_loss, lambda x, y: math.exp(x) - y * x, (number, count)),
    "poisson plain": (
        lambda x, y, **o: F.poisson_nll_loss(x, y, False, eps=0.1, **o),
        lambda x, y: x - y * math.log(x + 0.1),
        (positive, count),
    ),
    "poisson full": (
        lambda x, y, **o: F.poisson_nll_loss(x, y, full=True, **o),
        lambda x, y: (
            math.exp(x) - y * x + (y * math.log(y) - y + math.log(2 * math.pi * y) / 2 if y > 1 else 0)
        ),
        (number, count),
    ),
    "gaussian": (
        F.gaussian_nll_loss,
        lambda x, y, v: (math.log(v) + (x - y) ** 2 / v) / 2,
        (number, number, positive),
    ),
    "gaussian full": (
        lambda x, y, v, **o: F.gaussian_nll_loss(x, y, v, full=True, **o),
        lambda x, y, v: (math.log(2 * math.pi * v) + (x - y) ** 2 / v) / 2,
        (number, number, positive),
    ),
    "soft_margin": (F.soft_margin_loss, lambda x, y: math.log(1 + math.exp(-y * x)), (number, signs)),
    "hinge": (
        lambda x, y, **o: F.hinge_embedding_loss(x, y, 0.3, **o),
        lambda x, y: x if y == 1 else max(0, 0.3 - x),
        (number, signs),
    ),
    "ranking": (
        lambda a, b, y, **o: F.margin_ranking_loss(a, b, y, 0.2, **o),
        lambda a, b, y: max(0, -y * (a - b) + 0.2),
        (number, number, signs),
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:kl_div")
@pytest.mark.parametrize("name", ELEMENTWISE)
@given(mst.shapes(max_dims=3, min_side=1, max_side=3), mst.seeds(), st.data())
def test_losses_of_single_numbers(name, shape, seed, data):
    f, formula, draws = ELEMENTWISE[name]
    rng = np.random.default_rng(seed)
    arrays = [data.draw(mst.layouts(len(shape))).store(draw(rng, shape)) for draw in draws]
    tensors = [minidl.from_numpy(a).requires_grad_(draw is not signs and draw is not count) for a, draw in zip(arrays, draws)]
    each = np.vectorize(formula, otypes=[float])(*arrays)
    for reduction, wanted in (("none", each), ("mean", each.mean()), ("sum", each.sum())):
        got = f(*tensors, reduction=reduction)
        np.testing.assert_allclose(got.detach().numpy(), wanted, 1e-9, 1e-12)
        narrow = f(*(t.detach().float() for t in tensors), reduction=reduction)
        assert narrow.dtype == minidl.float32
        np.testing.assert_allclose(narrow.numpy(), wanted, 1e-4, 1e-5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", KinkWarning)
        gradcheck(lambda *t: f(*t, reduction="none"), tuple(tensors))
        gradgradcheck(lambda *t: f(*t, reduction="none"), tuple(tensors))


@given(mst.seeds())
def test_weights(seed):
    rng = np.random.default_rng(seed)
    x, y, w = rng.normal(size=(3, 4, 2))
    a, b, c = (minidl.from_numpy(v).requires_grad_() for v in (x, y, w))
    for f, formula in ((F.mse_loss, (x - y) ** 2), (F.l1_loss, abs(x - y))):
        np.testing.assert_allclose(f(a, b, weight=c, reduction="none").detach(), formula * w, rtol=1e-12)
        np.testing.assert_allclose(f(a, b, weight=c, reduction="sum").item(), (formula * w).sum(), rtol=1e-12)
        np.testing.assert_allclose(f(a, b, weight=c).item(), (formula * w).sum() / w.sum(), rtol=1e-12)
        assert gradcheck(lambda a, b, c, f=f: f(a, b, weight=c), (a, b, c))
    each = np.vectorize(huber)(x - y, 1.0) * w
    np.testing.assert_allclose(F.huber_loss(a, b, weight=c).item(), each.mean(), rtol=1e-12)
    p = 1 / (1 + np.exp(-x))
    q = 1 / (1 + np.exp(-y))
    each = -w * (q * np.log(p) + (1 - q) * np.log(1 - p))
    np.testing.assert_allclose(F.binary_cross_entropy(*map(minidl.tensor, (p, q)), c).item(), each.mean(), rtol=1e-12)
    each = -w * (w[0] * q * np.log(p) + (1 - q) * np.log(1 - p))
    got = F.binary_cross_entropy_with_logits(a, minidl.tensor(q), c, pos_weight=c[0])
    np.testing.assert_allclose(got.item(), each.mean(), rtol=1e-12)
    each = -(w * (q * np.log(p) + (1 - q) * np.log(1 - p))).mean(1)
    got = F.multilabel_soft_margin_loss(a, minidl.tensor(q), c, reduction="none")
    np.testing.assert_allclose(got.detach(), each, rtol=1e-12)


def margins(x, target, p, margin, weight):
    """`multi_margin_loss` of one row."""
    total = sum(max(0, margin - x[target] + v) ** p for i, v in enumerate(x) if i != target)
    return weight[target] * total / len(x)


@given(st.integers(1, 4), st.integers(1, 3), st.sampled_from([1, 2]), st.sampled_from([0.3, 1.0]), mst.seeds())
def test_multi_margin(classes, n, p, margin, seed):
    rng = np.random.default_rng(seed)
    x, target, weight = rng.normal(size=(n, classes)), rng.integers(0, classes, n), rng.uniform(0.5, 2, classes)
    t, y, w = minidl.tensor(x, requires_grad=True), minidl.tensor(target), minidl.tensor(weight)
    each = [margins(row.tolist(), i, p, margin, weight) for row, i in zip(x, target)]
    for reduction, wanted in (("none", each), ("mean", np.mean(each)), ("sum", np.sum(each))):
        np.testing.assert_allclose(F.multi_margin_loss(t, y, p, margin, w, reduction=reduction).detach(), wanted, 1e-12)
    np.testing.assert_allclose(F.multi_margin_loss(t[0], y[0], p, margin, w).item(), each[0], 1e-12)
    assert F.multi_margin_loss(t[0], y[:1], p, reduction="none").shape == (1,)
    gradcheck(lambda t: F.multi_margin_loss(t, y, p, margin, w), t)
    gradgradcheck(lambda t: F.multi_margin_loss(t, y, p, margin, w), t)


# -- vectors


def length(v, p):
    if p == math.inf:
        return max(map(abs, v))
    return math.fsum(abs(x) ** p for x in v) ** (1 / p)


def cosine(a, b):
    return math.fsum(x * y for x, y in zip(a, b)) / length(a, 2) / length(b, 2)


@given(st.integers(1, 3), st.integers(1, 3), st.sampled_from([1, 2, 3, math.inf]), st.booleans(), mst.seeds())
def test_vectors(n, d, p, swap, seed):
    rng = np.random.default_rng(seed)
    arrays = rng.normal(size=(3, n, d))
    a, b, c = (minidl.from_numpy(v).requires_grad_() for v in arrays)
    eps = 0.01

    def between(u, v):
        return length([x - y + eps for x, y in zip(u, v)], p)

    wanted = [between(u, v) for u, v in zip(arrays[0], arrays[1])]
    np.testing.assert_allclose(F.pairwise_distance(a, b, p, eps).detach(), wanted, 1e-9)
    assert F.pairwise_distance(a, b[0], p, keepdim=True).shape == (n, 1)
    np.testing.assert_allclose(F.cosine_similarity(a, b).detach(), [cosine(u, v) for u, v in zip(*arrays[:2])], 1e-9, 1e-12)
    np.testing.assert_allclose(F.normalize(a, p).detach(), [[x / length(row, p) for x in row] for row in arrays[0]], 1e-9)
    each = [
        max(0, 0.5 + between(u, v) - (min(between(u, w), between(v, w)) if swap else between(u, w))) for u, v, w in zip(*arrays)
    ]
    for reduction, right in (("none", each), ("mean", np.mean(each)), ("sum", np.sum(each))):
        got = F.triplet_margin_loss(a, b, c, 0.5, p, eps, swap, reduction=reduction)
        np.testing.assert_allclose(got.detach(), right, 1e-9, 1e-12)
    got = F.triplet_margin_with_distance_loss(
        a, b, c, distance_function=lambda x, y: F.pairwise_distance(x, y, p, eps), margin=0.5, swap=swap
    )
    np.testing.assert_allclose(got.item(), np.mean(each), 1e-9, 1e-12)
    sides = minidl.from_numpy(signs(rng, n))
    each = [1 - cosine(u, v) if s > 0 else max(0, cosine(u, v) - 0.1) for u, v, s in zip(*arrays[:2], sides.tolist())]
    np.testing.assert_allclose(F.cosine_embedding_loss(a, b, sides, 0.1, reduction="none").detach(), each, 1e-9, 1e-9)
    np.testing.assert_allclose(F.cosine_embedding_loss(a[0], b[0], sides[0], 0.1).item(), each[0], 1e-9, 1e-9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", KinkWarning)
        gradcheck(lambda a, b, c: F.triplet_margin_loss(a, b, c, 0.5, 2, eps, swap, reduction="none"), (a, b, c))
        gradcheck(lambda a, b: F.cosine_embedding_loss(a, b, sides, 0.1, reduction="none"), (a, b))
        if d > 1:
            gradgradcheck(F.cosine_similarity, (a, b))


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), mst.shapes(max_dims=2, max_side=2), st.booleans(), mst.seeds())
def test_bilinear(i, j, k, lead, biased, seed):
    rng = np.random.default_rng(seed)
    x, y, w, b = (rng.normal(size=shape) for shape in ((*lead, i), (*lead, j), (k, i, j), (k,)))
    wanted = np.zeros((*lead, k))
    for place in np.ndindex(*lead):
        for q in range(k):
            wanted[(*place, q)] = sum(x[(*place, r)] * w[q, r, s] * y[(*place, s)] for r in range(i) for s in range(j)) + (
                b[q] if biased else 0
            )
    tensors = [minidl.tensor(v, requires_grad=True) for v in (x, y, w, b)[: 3 + biased]]
    np.testing.assert_allclose(F.bilinear(*tensors).detach(), wanted, 1e-9, 1e-12)
    assert gradcheck(F.bilinear, tuple(tensors)) and gradgradcheck(F.bilinear, tuple(tensors))


def test_zero_vectors_have_finite_slopes():
    zero, one = minidl.zeros(1, 2, requires_grad=True), minidl.ones(1, 2)
    F.cosine_similarity(zero, one).sum().backward()
    np.testing.assert_allclose(zero.grad.numpy(), 1e8 / 2**0.5, 1e-6)
    zero.grad = None
    F.pairwise_distance(zero, zero.detach(), eps=0.0).sum().backward()
    assert zero.grad.tolist() == [[0, 0]]
    zero.grad = None
    F.normalize(zero).sum().backward()
    np.testing.assert_allclose(zero.grad.numpy(), 1e12, 1e-6)


def test_cosine_similarity_broadcasts():
    a, b = minidl.randn(2, 1, 3), minidl.randn(4, 3)
    out = F.cosine_similarity(a, b, dim=-1)
    assert out.shape == (2, 4)
    np.testing.assert_allclose(out[1, 2].item(), cosine(a[1, 0].tolist(), b[2].tolist()), 1e-5)
    assert F.cosine_similarity(minidl.tensor([[1, 2]]), minidl.tensor([[1.0, 2.0]])).item() == pytest.approx(1)


# -- what stands at the edges


def slope(f, *numbers):
    x = minidl.tensor(numbers, dtype=minidl.float64, requires_grad=True)
    f(x).sum().backward()
    return x.grad.tolist()


def test_kinks_of_losses():
    zero, one = minidl.zeros(4, dtype=minidl.float64), minidl.ones(4, dtype=minidl.float64)
    assert slope(lambda x: F.l1_loss(x, zero, reduction="sum"), -1, 0, 0, 1) == [-1, 0, 0, 1]
    assert slope(lambda x: F.smooth_l1_loss(x, zero, reduction="sum"), -1, -0.5, 0, 1) == [-1, -0.5, 0, 1]
    assert slope(lambda x: F.huber_loss(x, zero, "sum"), -1, -0.5, 0, 1) == [-1, -0.5, 0, 1]
    assert slope(lambda x: F.hinge_embedding_loss(x, -one, reduction="sum"), 0, 1, 1.5, 3) == [-1, -1, 0, 0]
    assert slope(lambda x: F.margin_ranking_loss(x, zero, one, reduction="sum"), -1, 0, 0, 1) == [-1, -1, -1, 0]


def test_large_scores_do_not_overflow():
    x = minidl.tensor([-1e4, 1e4], requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for loss in (
            F.soft_margin_loss(x, minidl.ones(2)),
            F.binary_cross_entropy_with_logits(x, minidl.ones(2)),
            F.multilabel_soft_margin_loss(x, minidl.ones(2)),
        ):
            x.grad = None
            loss.backward()
            assert loss.item() == 5000 and x.grad.tolist() == [-0.5, 0]


def test_zero_probabilities_in_kl_div():
    x, p = minidl.tensor([-1.0, -2.0, -0.5], requires_grad=True), minidl.tensor([0.0, 0.5, 0.5])
    out = F.kl_div(x, p, reduction="none")
    assert out[0].item() == 0
    out.sum().backward()
    assert x.grad.tolist() == [0, -0.5, -0.5]


def test_reductions_of_kl_div():
    x, p = minidl.randn(4, 3).log_softmax(1), minidl.randn(4, 3).softmax(1)
    total = F.kl_div(x, p, reduction="sum").item()
    assert F.kl_div(x, p, reduction="batchmean").item() == pytest.approx(total / 4)
    with pytest.warns(UserWarning, match="kl_div: reduction 'mean' divides by the number of elements") as caught:
        assert F.kl_div(x, p).item() == pytest.approx(total / 12)
    assert caught[0].filename == __file__
    assert F.kl_div(x[0, 0], p[0, 0], reduction="batchmean").shape == ()


def test_variances_too_small_for_gaussian_nll():
    var = minidl.tensor([0.01], requires_grad=True)
    F.gaussian_nll_loss(minidl.tensor([1.0]), minidl.tensor([2.0]), var, eps=0.1).backward()
    np.testing.assert_allclose(var.grad.numpy(), [-45], 1e-5)
    x = minidl.ones(2, 3)
    for v in (2.0, minidl.full((2, 3), 2.0), minidl.full((2, 1), 2.0), minidl.full((1, 3), 2.0), minidl.full((2,), 2.0)):
        np.testing.assert_allclose(F.gaussian_nll_loss(x, x * 2, v, reduction="none"), np.full((2, 3), 0.59657359), 1e-6)


ONES, TWO = minidl.ones(2, 3), minidl.tensor([0, 1])


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: F.mse_loss(ONES, ONES, size_average=False), TypeError, "size_average"),
        (lambda: nn.L1Loss(reduce=False), TypeError, "reduce"),
        (lambda: F.mse_loss(ONES, ONES, weight=ONES[0]), ShapeError, r"mse_loss: weight has shape \(3,\)"),
        (lambda: F.huber_loss(ONES, ONES, weight=ONES[0]), ShapeError, r"huber_loss: weight has shape \(3,\)"),
        (lambda: F.smooth_l1_loss(TWO, TWO), TypeError, "smooth_l1_loss: wants a floating dtype"),
        (lambda: F.kl_div(ONES, ONES, reduction="avg"), ValueError, "kl_div: reduction must be .* got 'avg'"),
        (lambda: F.kl_div(TWO, TWO, reduction="sum"), TypeError, "kl_div: wants a floating dtype"),
        (lambda: F.binary_cross_entropy(ONES, ONES * 2), RuntimeError, "elements of target must lie between 0 and 1"),
        (lambda: F.binary_cross_entropy(ONES[0], ONES[0], ONES), ShapeError, r"weight of shape \(2, 3\) does not fit"),
        (lambda: F.binary_cross_entropy_with_logits(ONES[0], ONES[0], ONES), ShapeError, r"does not fit input"),
        (lambda: F.poisson_nll_loss(ONES, ONES, reduction="x"), ValueError, "poisson_nll_loss: reduction"),
        (lambda: F.gaussian_nll_loss(ONES, ONES, -ONES), ValueError, "var must not be negative"),
        (lambda: F.gaussian_nll_loss(ONES, ONES, -1.0), ValueError, "var must not be negative, got -1.0"),
        (lambda: F.gaussian_nll_loss(ONES, ONES, ONES[0]), ShapeError, r"var of shape \(3,\) does not fit"),
        (lambda: F.gaussian_nll_loss(ONES, ONES, ONES[:1, :1]), ShapeError, r"var of shape \(1, 1\) does not fit"),
        (lambda: F.cosine_embedding_loss(ONES, ONES, ONES[0, 0]), ShapeError, r"wants inputs \(N, D\) and target \(N,\)"),
        (lambda: F.cosine_embedding_loss(ONES[0], ONES[0], ONES[0]), ShapeError, "wants inputs"),
        (lambda: F.cosine_embedding_loss(ONES, ONES, ONES), ShapeError, "wants inputs"),
        (lambda: F.margin_ranking_loss(ONES, ONES[0], ONES), ShapeError, "as many dimensions each"),
        (lambda: F.triplet_margin_loss(ONES, ONES[0], ONES), ShapeError, "as many dimensions each"),
        (lambda: F.triplet_margin_loss(ONES, ONES, ONES, margin=0), ValueError, "margin must be positive, got 0"),
        (lambda: nn.TripletMarginLoss(-1.0), ValueError, "margin must be positive, got -1"),
        (lambda: nn.TripletMarginWithDistanceLoss(margin=0), ValueError, "margin must be positive, got 0"),
        (lambda: F.multi_margin_loss(ONES, TWO, 3), ValueError, "p must be 1 or 2, got 3"),
        (lambda: nn.MultiMarginLoss(3), ValueError, "p must be 1 or 2, got 3"),
        (lambda: F.multi_margin_loss(minidl.ones(2, 3, 4), TWO), ShapeError, r"\(N, C\) or \(C,\), got shape \(2, 3, 4\)"),
        (lambda: F.multi_margin_loss(ONES, TWO + 2), IndexError, "3"),
        (lambda: F.multi_margin_loss(ONES, TWO, weight=ONES[0, :2]), ShapeError, r"weight must have shape \(3,\)"),
        (lambda: F.cross_entropy(ONES, TWO, label_smoothing=1.5), ValueError, "between 0 and 1, got 1.5"),
        (lambda: F.cross_entropy(ONES, ONES, ignore_index=1), ValueError, "ignore_index 1 has no meaning"),
        (lambda: F.cross_entropy(ONES.long(), TWO), TypeError, "cross_entropy: wants a floating dtype, got int64"),
        (lambda: F.cross_entropy(ONES, ONES, ONES[0, :2]), ShapeError, r"weight must have shape \(3,\)"),
        (lambda: F.cross_entropy(ONES, TWO + 2), IndexError, "target 3 is out of range for 3 classes"),
        (lambda: F.cross_entropy(ONES, TWO[:1]), ShapeError, r"wants target of shape \(2,\)"),
        (lambda: F.cosine_similarity(TWO, TWO, 0), TypeError, "cosine_similarity: wants a floating dtype"),
        (lambda: F.cosine_similarity(ONES[0], ONES[0]), IndexError, "dim 1"),
        (lambda: F.bilinear(ONES, ONES[:1], minidl.ones(4, 3, 3)), ShapeError, "must be the same but for the last size"),
        (lambda: F.bilinear(ONES, ONES, minidl.ones(4, 3, 2)), ShapeError, r"weight must have shape \(K, 3, 3\)"),
        (lambda: nn.Bilinear(0, 1, 1), ValueError, "in1_features must be at least 1, got 0"),
    ],
)
def test_what_losses_refuse(call, error, said):
    with pytest.raises(error, match=said):
        call()


# -- cross-entropy


@given(st.integers(1, 4), mst.shapes(1, 3, 1, 3), st.sampled_from(["mean", "sum", "none"]), st.booleans(), mst.seeds())
def test_cross_entropy_is_log_softmax_and_nll(classes, rest, reduction, weighted, seed):
    rng = np.random.default_rng(seed)
    shape = (rest[0], classes, *rest[1:])
    order = rng.permutation(len(shape))
    x = np.ascontiguousarray((3 * rng.normal(size=shape)).transpose(order)).transpose(np.argsort(order))
    target = rng.integers(0, classes, rest)
    target[rng.random(rest) < 0.2] = -100
    weight = minidl.tensor(rng.uniform(0.5, 2, classes)) if weighted else None
    y, g = minidl.tensor(target), minidl.tensor(rng.normal(size=rest if reduction == "none" else ()))
    results = []
    for loss in (F.cross_entropy, lambda x, *a, **o: F.nll_loss(F.log_softmax(x, 1), *a, **o)):
        t = minidl.from_numpy(x).requires_grad_()
        out = loss(t, y, weight, reduction=reduction)
        out.backward(g)
        results.append((out.detach().numpy(), t.grad.numpy()))
    for a, b in zip(*results):
        np.testing.assert_allclose(a, b, 1e-9, 1e-12)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_confident_scores_keep_their_small_loss(dtype):
    scores = minidl.tensor([[30.0, 20.0], [500.0, 490.0]], dtype=getattr(minidl, dtype))
    out = F.cross_entropy(scores, minidl.tensor([0, 0]), reduction="none")
    assert out.dtype == scores.dtype
    np.testing.assert_allclose(out.numpy(), math.log1p(math.exp(-10)), 2e-3 if dtype != "float64" else 1e-9, 3e-7)


def test_modules_say_the_same_as_functions():
    x, y, z = minidl.randn(4, 3), minidl.rand(4, 3), minidl.randn(4, 3)
    side, target = minidl.tensor([1.0, -1.0, 1.0, -1.0]), minidl.tensor([0, 1, 2, 1])
    for module, args, wanted in (
        (nn.KLDivLoss(reduction="batchmean"), (x, y), F.kl_div(x, y, reduction="batchmean")),
        (nn.PoissonNLLLoss(full=True), (x, y), F.poisson_nll_loss(x, y, full=True)),
        (nn.GaussianNLLLoss(full=True), (x, z, y), F.gaussian_nll_loss(x, z, y, full=True)),
        (nn.SoftMarginLoss(), (x, z.sign()), F.soft_margin_loss(x, z.sign())),
        (nn.MultiLabelSoftMarginLoss(y[0]), (x, y), F.multilabel_soft_margin_loss(x, y, y[0])),
        (nn.MultiMarginLoss(2, 0.5), (x, target), F.multi_margin_loss(x, target, 2, 0.5)),
        (nn.HingeEmbeddingLoss(0.5), (x, z.sign()), F.hinge_embedding_loss(x, z.sign(), 0.5)),
        (nn.MarginRankingLoss(0.5), (x, y, z.sign()), F.margin_ranking_loss(x, y, z.sign(), 0.5)),
        (nn.CosineEmbeddingLoss(0.5), (x, z, side), F.cosine_embedding_loss(x, z, side, 0.5)),
        (nn.TripletMarginLoss(0.5, swap=True), (x, y, z), F.triplet_margin_loss(x, y, z, 0.5, swap=True)),
        (nn.TripletMarginWithDistanceLoss(margin=0.5), (x, y, z), F.triplet_margin_loss(x, y, z, 0.5)),
        (nn.CosineSimilarity(0), (x, y), F.cosine_similarity(x, y, 0)),
        (nn.PairwiseDistance(1, keepdim=True), (x, y), F.pairwise_distance(x, y, 1, keepdim=True)),
    ):
        np.testing.assert_allclose(module(*args).numpy(), wanted.numpy(), 1e-6, err_msg=repr(module))

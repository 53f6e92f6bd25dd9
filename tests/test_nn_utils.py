"""Norms and bounds of gradients, and the starts of weights that have a pattern."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minidl
from minidl import nn
from minidl.shapes import ShapeError
from minidl.testing import strategies as mst

inf, nan = math.inf, math.nan


def norm(values, p):
    if p == inf:
        return max(map(abs, values), default=0.0)
    if p == 0:
        return float(sum(v != 0 for v in values))
    return sum(abs(v) ** p for v in values) ** (1 / p)


def numbers(tensors):
    return [v for t in tensors for v in t.reshape(-1).tolist()]


def with_grads(grads):
    """Parameters that have these gradients, and one that has none."""
    params = [nn.Parameter(minidl.zeros(g.shape, dtype=g.dtype)) for g in grads]
    for p, g in zip(params, grads):
        p.grad = g
    return [*params, nn.Parameter(minidl.zeros(2))]


TENSORS = st.lists(mst.tensors(domain=mst.Domain(-5, 5), requires_grad=False), min_size=1, max_size=3)


@given(TENSORS, st.sampled_from([0.5, 1, 2, 3.5, inf, "inf"]))
def test_total_norm(tensors, p):
    assert nn.utils.get_total_norm(tensors, p).item() == pytest.approx(norm(numbers(tensors), float(p)), rel=1e-12)


@given(TENSORS, st.sampled_from([1, 2, inf]), st.sampled_from([0.1, 3, 1e6]))
def test_clipped_norm(grads, p, largest):
    before = [minidl.clone(g) for g in grads]
    total = norm(numbers(grads), p)
    params = with_grads(grads)
    found = nn.utils.clip_grad_norm_(iter(params), largest, p)
    assert found.item() == pytest.approx(total, rel=1e-12) and params[-1].grad is None
    scale = min(1, largest / (total + 1e-6))
    for p_, g, old in zip(params, grads, before):
        assert p_.grad is g
        np.testing.assert_allclose(g.numpy(), scale * old.numpy(), rtol=1e-12)
    again = with_grads(before)
    nn.utils.clip_grads_with_norm_(again, largest, nn.utils.get_total_norm(before, p))
    for a, b in zip(again, grads):
        np.testing.assert_array_equal(a.grad.numpy(), b.numpy())


@given(TENSORS, st.sampled_from([0, 0.5, 3]))
def test_clipped_values(grads, bound):
    wanted = [min(max(v, -bound), bound) for v in numbers(grads)]
    nn.utils.clip_grad_value_(with_grads(grads), bound)
    assert numbers(grads) == wanted


def test_half_precision():
    """The squares of half precision overflow long before the norm does."""
    params = with_grads([minidl.tensor([300.0, 400.0], dtype=minidl.float16)])
    total = nn.utils.clip_grad_norm_(params, 50.0)
    assert total.item() == 500 and total.dtype == minidl.float16
    np.testing.assert_allclose(params[0].grad.numpy(), [30, 40], rtol=2e-3)


@pytest.mark.parametrize("bad", [inf, nan])
def test_not_finite(bad):
    params = with_grads([minidl.tensor([3.0, bad]), minidl.tensor([4.0])])
    for call in (
        lambda: nn.utils.clip_grad_norm_(params, 1.0, error_if_nonfinite=True),
        lambda: nn.utils.get_total_norm([p.grad for p in params[:2]], error_if_nonfinite=True),
    ):
        with pytest.raises(RuntimeError, match=f"the norm is {bad}"):
            call()
    assert params[1].grad.tolist() == [4]
    with np.errstate(invalid="ignore"):
        nn.utils.clip_grad_norm_(params, 1.0)
    np.testing.assert_array_equal(params[1].grad.numpy(), [0 if bad == inf else nan])


def test_nothing_to_clip():
    assert nn.utils.get_total_norm([]).item() == 0 and nn.utils.get_total_norm([]).dtype == minidl.float32
    assert nn.utils.clip_grad_norm_([], 1.0).item() == 0
    net = nn.Linear(2, 2)
    parameters = net.parameters()
    list(parameters)
    with pytest.warns(UserWarning, match="nothing left"):
        nn.utils.clip_grad_norm_(parameters, 1.0)


def test_a_single_tensor():
    (p, _) = with_grads([minidl.tensor([3.0, 4.0])])
    assert nn.utils.get_total_norm(p.grad).item() == 5
    nn.utils.clip_grads_with_norm_(p, 1.0, minidl.tensor(10.0))
    np.testing.assert_allclose(p.grad.numpy(), [0.3, 0.4], rtol=1e-6)


def test_in_a_compiled_step():
    p = nn.Parameter(minidl.zeros(2))
    seen = []

    @minidl.compile
    def step(x):
        (p * x).sum().backward()
        return nn.utils.clip_grad_norm_([p], 1.0)

    for i in range(5):
        p.grad = None
        seen.append(step(minidl.tensor([3.0, 4.0]) * (i + 1)).item())
        np.testing.assert_allclose(p.grad.numpy(), [0.6, 0.8], rtol=1e-5)
    np.testing.assert_allclose(seen, [5, 10, 15, 20, 25])
    assert "steps became" in minidl.compiler.explain(step)


@pytest.mark.parametrize(
    ("shape", "groups"), [((4, 4, 3), 1), ((6, 2, 3, 4), 3), ((4, 7, 1, 2, 3), 2), ((6, 2, 5), 2), ((0, 3, 3), 1)]
)
def test_dirac(shape, groups):
    found = nn.init.dirac_(minidl.full(shape, 7.0), groups)
    for place in itertools.product(*map(range, shape)):
        f, c, *taps = place
        wanted = f % (shape[0] // groups) == c and all(t == size // 2 for t, size in zip(taps, shape[2:]))
        assert found[place].item() == wanted, place


def test_dirac_passes_channels_on():
    conv = nn.Conv2d(4, 4, 3, padding=1, groups=2, bias=False)
    nn.init.dirac_(conv.weight, groups=2)
    x = minidl.randn(2, 4, 5, 6)
    np.testing.assert_array_equal(conv(x).detach().numpy(), x.numpy())


@pytest.mark.parametrize("sparsity", [0.0, 0.34, 1.0])
def test_sparse(sparsity):
    drawn = []
    for _ in range(2):
        w = minidl.empty(50, 400)
        assert nn.init.sparse_(w, sparsity, 0.5, generator=minidl.Generator().manual_seed(1)) is w
        drawn.append(w.numpy())
    np.testing.assert_array_equal(*drawn)
    assert ((w.numpy() == 0).sum(0) == math.ceil(sparsity * 50)).all()
    if sparsity < 1:
        assert w.numpy()[w.numpy() != 0].std() == pytest.approx(0.5, rel=0.03)
        rows = (w.numpy() == 0).mean(1)  # no row is preferred
        assert abs(rows - sparsity).max() < 0.12


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: nn.init.dirac_(minidl.empty(3, 3)), ShapeError, "3, 4 or 5"),
        (lambda: nn.init.dirac_(minidl.empty(3, 3, 1), 2), ValueError, "divide the 3 filters, got 2"),
        (lambda: nn.init.dirac_(minidl.empty(3, 3, 1), 0), ValueError, "got 0"),
        (lambda: nn.init.sparse_(minidl.empty(3), 0.5), ShapeError, "2 dimensions"),
        (lambda: nn.init.sparse_(minidl.empty(3, 3), 1.5), ValueError, "sparsity .* got 1.5"),
        (lambda: nn.utils.clip_grad_norm_([], 1.0, foreach=True), NotImplementedError, "clip_grad_norm_: foreach=True"),
        (lambda: nn.utils.clip_grad_value_([], 1.0, foreach=True), NotImplementedError, "clip_grad_value_: foreach"),
        (lambda: nn.utils.get_total_norm([], foreach=True), NotImplementedError, "get_total_norm: foreach"),
        (lambda: nn.utils.clip_grads_with_norm_([], 1.0, 1.0, True), NotImplementedError, "clip_grads_with_norm_: foreach"),
        (lambda: nn.utils.vector_to_parameters([1.0], []), TypeError, "vec must be a Tensor, got list"),
    ],
)
def test_what_is_refused(call, error, said):
    with pytest.raises(error, match=said):
        call()

"""Changes in place and views: what is allowed, what is noticed, and the gradients of what was changed."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minidl
from minidl.autograd import grad


def leaf(numbers, **options):
    return minidl.tensor(numbers, dtype=minidl.float64, requires_grad=True, **options)


def close(t, expected):
    np.testing.assert_allclose(t.detach().numpy(), expected, rtol=1e-12, atol=1e-12)


def matrix(requires_grad=True):
    return minidl.tensor(np.arange(12.0).reshape(3, 4), requires_grad=requires_grad)


# -- what is refused, and what is left as it was


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.add_(1),
        lambda x: x.zero_(),
        lambda x: x.__setitem__(0, 5.0),
        lambda x: x[0].mul_(2),
        lambda x: x.T[1:].copy_(minidl.zeros(3, 3, dtype=minidl.float64)),
        lambda x: x.detach()[0].requires_grad_().add_(1),
        lambda x: x.masked_fill_(x > 3, 0.0),
    ],
)
def test_leaves_that_require_a_gradient_and_their_views(change):
    x = matrix()
    with pytest.raises(RuntimeError, match=r"a leaf that requires a gradient .*no_grad"):
        change(x)
    close(x, np.arange(12.0).reshape(3, 4))
    with minidl.no_grad():
        x += 1
        x[0] = 0
    close(x[1], [5, 6, 7, 8])


def test_a_change_under_no_grad_counts():
    x = leaf([1.0, 2.0])
    y = (x * x).sum()
    with minidl.no_grad():
        x += 1
    with pytest.raises(RuntimeError, match=r"mul .* needs its '(input|other)' of shape \(2,\) as it was.* by add_"):
        y.backward()


def test_the_error_names_both_places():
    x = leaf([1.0, 2.0]) * 1
    y = x * x  # needs x
    here = test_the_error_names_both_places.__code__.co_firstlineno
    x += 1  # changes x
    with pytest.raises(RuntimeError) as caught:
        y.sum().backward()
    assert f"mul ({__file__}:{here + 2})" in str(caught.value)
    assert f"add_ ({__file__}:{here + 4})" in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.detach().mul_(2),
        lambda x: x.detach()[0].zero_(),
        lambda x: x[1:].add_(1),
        lambda x: x.T.__setitem__((0, 0), 1.0),
        lambda x: x.reshape(2, -1).fill_(1),
        lambda x: x.__setitem__(x > 0, 1.0),
        lambda x: x.uniform_(),
        lambda x: x.scatter_add_(0, minidl.tensor([[0]]), minidl.ones(1, 1, dtype=minidl.float64)),
    ],
)
def test_changes_by_any_name_are_noticed(change):
    x = matrix() * 1
    y = x.sin().sum()
    change(x)
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward()


def test_changes_that_do_no_harm_are_allowed():
    x = leaf([1.0, 2.0])
    y = x * 3  # remembers nothing of x or y
    y += 1
    z = y.exp()  # remembers its own result
    y *= 5
    (z.sum() + y.sum()).backward()
    close(x.grad, 3 * np.exp([4, 7]) + 15)


def test_data_and_numpy_are_back_doors():
    x = leaf([1.0, 2.0])
    y = (x * x).sum()
    x.data.mul_(10)
    x.detach().numpy()[0] = 5
    y.backward()
    close(x.grad, [10, 40])


def test_read_only_memory():
    array = np.zeros(3)
    array.flags.writeable = False
    with pytest.raises(RuntimeError, match="add_: this tensor cannot be written to"):
        minidl.from_numpy(array).add_(1)
    for expanded in (minidl.zeros(1, 2).expand(3, 2), minidl.zeros(1, 2).expand(3, 2)[:1]):
        with pytest.raises(RuntimeError, match="expanded"):
            expanded += 1


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda x: x.add_(minidl.ones(2, 3, 4)), RuntimeError, "add_: the result has shape \\(2, 3, 4\\)"),
        (lambda x: x.mul_(minidl.ones(5)), RuntimeError, "mul"),
        (lambda x: x.copy_(minidl.ones(2, 3, 4)), RuntimeError, "copy_: a value of shape \\(2, 3, 4\\) does not fit"),
        (lambda x: x.fill_(minidl.ones(2)), RuntimeError, "fill_: value must be a number"),
        (lambda x: x.__setitem__(0, minidl.ones(3)), RuntimeError, "setitem: a value of shape \\(3,\\) does not fit"),
        (lambda x: x.__setitem__(7, 1.0), IndexError, "setitem: shape \\(3, 4\\)"),
        (lambda x: x.__setitem__(0, [1.0, 2.0]), TypeError, "setitem: the value must be .* got list"),
        (lambda x: x.__setitem__(0, "a"), TypeError, "setitem: the value must be .* got str"),
        (lambda x: x.__setitem__(0, None), TypeError, "setitem: the value must be .* got NoneType"),
        (lambda x: x.__setitem__(slice(None, None, -1), 1.0), ValueError, "step of a slice must be positive"),
        (lambda x: x.copy_("a"), TypeError, "copy_: the value must be"),
        (lambda x: x.long().add_(1.5), RuntimeError, "add_: the result is float32 and cannot be put in place of int64"),
        (lambda x: x.long().div_(2), RuntimeError, "div_: the result is float32"),
        (lambda x: (x > 0).add_(1), RuntimeError, "add_: the result is int64 and cannot be put in place of bool"),
        (lambda x: x.add_("a"), TypeError, "add: the argument 'other'"),
    ],
)
def test_what_does_not_fit(change, error, words):
    x = minidl.zeros(3, 4)
    with pytest.raises(error, match=words):
        change(x)
    close(x, np.zeros((3, 4)))


# -- gradients


def test_an_operand_that_needs_the_old_value():
    x, y = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    z = x * 1
    z *= y
    z /= y + 1
    z **= 2
    z.sum().backward()
    ratio = np.array([3 / 4, 4 / 5])
    close(x.grad, 2 * np.array([1, 2]) * ratio**2)
    close(y.grad, 2 * np.array([1, 4]) * ratio / np.array([16, 25]))


def test_a_constant_becomes_a_part_of_the_graph():
    w, x = leaf([2.0, 3.0]), minidl.zeros(3, dtype=minidl.float64)
    first = x[0]
    x[:2] = w * w
    x[2] = w[0]
    assert x.requires_grad and first.requires_grad
    (x * minidl.tensor([1.0, 10.0, 100.0])).sum().backward()
    close(w.grad, [4 + 100, 60])


def test_overwriting_ends_a_history():
    x = leaf([1.0, 2.0])
    y = x * 2
    y.zero_()
    y += x * 5
    y.sum().backward()
    close(x.grad, [5, 5])


def test_views_follow_their_base_and_the_base_its_views():
    x = matrix()
    a = x * 1
    row, flat, column = a[1], a.view(-1), a.T[2]
    row *= 2
    a += 1
    flat[6] = 100.0  # a[1, 2]
    column.mul_(3)
    assert row[2].item() == 300 and a[1, 2].item() == 300
    weights = np.random.default_rng(0).normal(size=(3, 4))
    (a * minidl.tensor(weights)).sum().backward()
    slope = np.ones((3, 4))
    slope[1] *= 2
    slope[1, 2] = 0
    slope[:, 2] *= 3
    close(x.grad, weights * slope)
    x.grad = None
    row.sum().backward()
    close(x.grad, [[0] * 4, [2, 2, 0, 2], [0] * 4])


def test_rows_of_an_iteration_may_be_changed():
    x = matrix()
    y = x * 1
    for i, row in enumerate(y):
        row *= i
    for part in y.split(2, 1):
        part += 1
    y.sum().backward()
    close(x.grad, [[0] * 4, [1] * 4, [2] * 4])


def test_a_view_made_under_no_grad_may_be_changed():
    x = matrix()
    y = x * 1
    with minidl.no_grad():
        row, last = y[0], y[2]
    assert not row.requires_grad
    row *= 3
    last[1:] = 5.0
    y.sum().backward()
    close(x.grad, [[3] * 4, [1] * 4, [1, 0, 0, 0]])


def test_assignment_in_all_its_forms():
    x, v = matrix(), leaf([1.0, 2.0, 3.0, 4.0])
    y = x * 1
    y[0] = v
    y[minidl.tensor([1, 2]), minidl.tensor([0, 3])] = v[:2]
    y[:, ::2] *= 2
    y[y > 15] = v[3]  # 2 * 8 + ... of the last row
    y[-1, -1] += v[2]
    y[[0, 1]] += v
    weights = np.random.default_rng(1).normal(size=(3, 4))
    (y * minidl.tensor(weights)).sum().backward()
    expected = np.arange(12.0).reshape(3, 4)
    w = np.array([1.0, 2.0, 3.0, 4.0])
    expected[0] = w
    expected[[1, 2], [0, 3]] = w[:2]
    expected[:, ::2] *= 2
    mask = expected > 15
    expected[mask] = w[3]
    expected[-1, -1] += w[2]
    expected[[0, 1]] += w
    close(y, expected)
    assert mask.sum() == 2  # y[2, 0] and y[2, 2]
    gx = weights.copy()
    gx[0], gx[1, 0], gx[2, 3], gx[1, 2] = 0, 0, 0, 2 * gx[1, 2]
    gx[mask] = 0
    close(x.grad, gx)
    gv = weights[0] * [2, 1, 2, 1] + weights[0] + weights[1]
    gv[0] += 2 * weights[1, 0]
    gv[1] += weights[2, 3]
    gv[2] += weights[2, 3]
    gv[3] += weights[mask].sum()
    close(v.grad, gv)


def test_an_assigned_value_may_have_sizes_of_1_in_front():
    w = leaf([[[1.0, 2.0]]])
    x = minidl.zeros(2, 2, dtype=minidl.float64)
    x[0] = w
    x[minidl.tensor([1])] = 3 * w
    x.sum().backward()
    close(w.grad, [[[4, 4]]])


def test_a_mask_that_selects_nothing():
    x = leaf([1.0, 2.0])
    y = x * 1
    y[y > 5] = 0.0
    y[y > 5] += 1
    y.sum().backward()
    close(x.grad, [1, 1])


def test_self_assignment_and_overlap():
    x = leaf([1.0, 2.0, 3.0])
    y = x * 1
    y[...] = y
    y[1:] += y[:-1]  # reads the old values
    y[:2] = y[1:].clone()
    close(y, [3, 5, 5])
    (y * minidl.tensor([1.0, 10.0, 100.0])).sum().backward()
    close(x.grad, [1, 111, 110])


def test_self_multiplication_needs_the_other_side_as_it_was():
    y = leaf([1.0, 2.0]) * 1
    y *= y
    close(y, [1, 4])
    with pytest.raises(RuntimeError, match="needs its 'other'"):
        y.sum().backward()


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_view_of_memory_in_any_order(order):
    """A reshape that is a view of this memory may be a copy of a gradient's: the part must still be found."""
    array = np.array(np.arange(6.0).reshape(2, 3), order=order)
    w = leaf(2.0)
    base = minidl.from_numpy(array)
    flat = (base if order == "C" else base.T).reshape(-1)
    base *= w
    flat[1:3] = 0.0
    weights = np.random.default_rng(0).normal(size=(2, 3))
    (base * minidl.tensor(weights)).sum().backward()
    kept = np.arange(6.0).reshape(2, 3)
    (kept if order == "C" else kept.T).flat[1:3] = 0
    if order == "F":
        kept = np.where([[True, False, True], [False, True, True]], np.arange(6.0).reshape(2, 3), 0)
    close(w.grad, (kept * weights).sum())


def test_changes_can_be_differentiated_twice():
    start = np.array([0.5, -0.7, 0.9])
    x = leaf(start)
    y = x * x
    y[1:] *= x[:-1]
    y[0] = x[2] ** 3
    y.exp_()
    z = x.exp() * 1
    z[0] += x[1] ** 2
    (g,) = grad(y.sum() + z.sum(), x, create_graph=True)
    (h,) = grad((g * g).sum(), x)
    step, ends = 1e-6, []

    def slope(numbers):
        x = leaf(numbers)
        a, b, c = x.unbind()
        total = ((c**3).exp() + (b * b * a).exp() + (c * c * b).exp()) + x.exp().sum() + b * b
        (g,) = grad(total, x)
        return (g * g).sum().item()

    for i in range(3):
        d = np.eye(3)[i] * step
        ends.append((slope(start + d) - slope(start - d)) / (2 * step))
    np.testing.assert_allclose(h.numpy(), ends, rtol=1e-5)


def test_hooks_and_retained_gradients_of_a_changed_tensor():
    x = leaf([1.0, 2.0])
    y = x * 1
    seen = []
    y.register_hook(lambda g: seen.append(g.tolist()))  # sees the gradient of y as it was
    y.retain_grad()  # moves on
    y *= 2
    y.sum().backward()
    assert seen == [[2, 2]]
    close(y.grad, [1, 1])


def test_detach_in_place():
    x = leaf([1.0, 2.0])
    y = x * 2
    row = y[0]
    y.detach_()
    assert not y.requires_grad and y.is_leaf
    with pytest.raises(RuntimeError, match="detach_: a view"):
        row.detach_()


def test_counters_of_two_threads():
    x = leaf([1.0] * 10) * 1
    views = [x[:5], x[5:]]

    def work(view):
        with minidl.no_grad():
            for _ in range(200):
                view += 1

    threads = [threading.Thread(target=work, args=(view,)) for view in views]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    close(x, [201] * 10)


@given(st.lists(st.integers(-4, 3), min_size=1, max_size=6))
def test_repeated_indices(places):
    """Reading adds up in the gradient; writing keeps one."""
    x = leaf(np.arange(4.0))
    weights = np.random.default_rng(0).normal(size=len(places))
    (x[minidl.tensor(places)] * minidl.tensor(weights)).sum().backward()
    expected = np.zeros(4)
    np.add.at(expected, places, weights)
    close(x.grad, expected)
    y = minidl.zeros(4)
    y[places] += 1
    assert y.sum().item() == len({p % 4 for p in places})


def test_functions_that_return_themselves():
    x = minidl.zeros(3)
    assert x.add_(1) is x and x.fill_(2) is x and x.zero_() is x and x.copy_(minidl.ones(3)) is x
    assert x.clamp_(0, 0.5) is x and x.normal_() is x and x.uniform_() is x and x.bernoulli_() is x
    before = x
    x += 1
    assert x is before


def test_copy_converts():
    x = minidl.zeros(2, dtype=minidl.int64)
    x.copy_(minidl.tensor([1.7, -2.7]))
    assert x.tolist() == [1, -2]
    x[minidl.tensor([0])] = minidl.tensor([3.9])  # also at index tensors, where PyTorch wants equal dtypes
    x[1] = 5.5
    assert x.tolist() == [3, 5]


def test_an_operand_given_by_name_takes_part_in_the_gradient():
    x, w = matrix(False), leaf([2.0, 3.0, 4.0, 5.0])
    x.mul_(other=w)
    x.sum().backward()
    close(w.grad, matrix(False).sum(0).numpy())


def test_an_index_tensor_may_be_changed_after_it_was_used():
    x, i = leaf([1.0, 2.0, 3.0]), minidl.tensor([0, 1])
    picked = x[i]
    i[0] = 2
    picked.sum().backward()
    close(x.grad, [1, 1, 0])
    v, i = leaf([1.0, 2.0]), minidl.tensor([0, 1])
    y = minidl.zeros(3, dtype=minidl.float64)
    y[i] = v
    i[0] = 2
    (y * minidl.tensor([1.0, 2.0, 3.0])).sum().backward()
    close(v.grad, [1, 2])


@pytest.mark.parametrize("look", [lambda z: z[...], lambda z: z.reshape(()), lambda z: z.view(())])
@pytest.mark.parametrize("changes", [1, 2, 3])
def test_a_number_changed_through_a_view(look, changes):
    x = leaf(2.0)
    z = x * 1
    v = look(z)
    for _ in range(changes):
        v *= 3
    (z + z * z).backward()  # the gradients of several ways add up to a number, which the rules must take as an array
    close(x.grad, 3**changes * (1 + 2 * 2 * 3**changes))


def test_a_number_assigned_to():
    x, w = leaf(2.0), leaf(5.0)
    z = x * 1
    z[...] = w * 2
    (z + z * z).backward()
    close(x.grad, 0)
    close(w.grad, 2 * (1 + 2 * 10))

"""The tape and the sweep: values by hand, what is remembered, what is freed, and the ways to write one's own function."""

import copy
import gc
import pickle
import threading
import weakref

import numpy as np
import pytest

import minidl
from minidl.autograd import Function, backward, differentiable, grad
from minidl.testing import gradcheck, gradgradcheck


def leaf(*numbers, dtype=minidl.float64):
    return minidl.tensor(numbers[0] if len(numbers) == 1 else list(numbers), dtype=dtype, requires_grad=True)


def close(t, expected):
    np.testing.assert_allclose(t.detach().numpy(), expected, rtol=1e-12, atol=1e-12)


# -- backward


def test_gradients_by_hand():
    x, y = leaf(2.0, 3.0), leaf(5.0, 7.0)
    (x * y + x.exp()).sum().backward()
    close(x.grad, [5 + np.exp(2), 7 + np.exp(3)])
    close(y.grad, [2, 3])


def test_diamonds_add_up():
    x = leaf(3.0)
    a = x * 2
    b, c = a + 1, a * a
    (b * c + a).backward()  # (2x + 1) 4x^2 + 2x
    close(x.grad, 24 * 9 + 8 * 3 + 2)


def test_one_tensor_in_both_places():
    x = leaf(3.0)
    (x * x - x / x + x**x).backward()
    close(x.grad, 6 + 27 * (np.log(3) + 1))


def test_gradients_accumulate_in_the_same_array():
    x = leaf(1.0, 2.0)
    (x * 3).sum().backward()
    first = x.grad
    (x * x).sum().backward()
    assert x.grad is first
    close(first, [5, 7])


def test_only_what_a_rule_made_is_added_into():
    """A rule may give a view: of an array that it made, of what the op remembers, of g, or of a part of what it made."""
    made = []

    @differentiable
    def op(x, c, how):
        return x * 1

    def rule(g, c, how):
        if how == "made":
            made.append(np.concatenate([g, g * 0]).reshape(2, 2)[0] if c is None else (g * 1).reshape(1, 2))
            return made[-1].reshape(2)
        return {"remembered": c.reshape(1, 2).reshape(2), "g": g.reshape(1, 2).reshape(2)}[how]

    op.vjp(x=rule)
    c = np.array([10.0, 20.0])
    for how, given in [("made", c), ("made", None), ("remembered", c), ("g", c)]:
        x = leaf(1.0, 2.0)
        y = x * 1
        seed = minidl.tensor([1.0, 1.0], dtype=minidl.float64)
        (y * 3 + op(y, given, how)).backward(seed)  # the rule is asked first, and the rest is added
        close(x.grad, [13, 23] if how == "remembered" else [4, 4])
        np.testing.assert_array_equal(c, [10, 20])
        np.testing.assert_array_equal(seed.numpy(), [1, 1])


@pytest.mark.parametrize("n", [0, 1])
def test_a_gradient_spread_over_nothing_or_one_number_is_not_added_into(n):
    """What `broadcast_to` gives cannot be written to, also where it is as large as the array that it was made of."""
    x, logits = leaf(*[2.0] * n), minidl.zeros(n, 1, dtype=minidl.float64, requires_grad=True)
    y = x * 1
    (y * 3 + y).sum().backward()
    (y.sum(0, keepdim=True) + (y * 3).sum(0, keepdim=True)).sum().backward()
    close(x.grad, [8] * n)
    classes = minidl.zeros(n, dtype=minidl.int64)
    minidl.nn.functional.cross_entropy(logits, classes, label_smoothing=0.1, reduction="sum").backward()
    close(logits.grad, np.zeros((n, 1)))


def test_create_graph_accumulates_in_a_new_array():
    x = leaf(1.0, 2.0)
    (x * 3).sum().backward()
    first = x.grad
    (x * x).sum().backward(create_graph=True)
    assert x.grad is not first and x.grad.requires_grad
    close(first, [3, 3])
    close(x.grad, [5, 7])
    (x * 1).sum().backward()
    close(x.grad, [6, 8])
    y = leaf(2.0)
    (y * y).backward(create_graph=True)
    (y * y).backward()
    assert isinstance(y.grad.numpy(), np.ndarray) and y.grad.item() == 8


def test_a_gradient_belongs_to_its_leaf():
    x, y = leaf(1.0), leaf(2.0)
    g = minidl.tensor(1.0, dtype=minidl.float64)
    (x + y).backward(g)
    x.grad += 10
    assert (x.grad.item(), y.grad.item(), g.item()) == (11, 1, 1)


def test_root_may_be_a_leaf():
    x = leaf(2.0)
    x.backward()
    x.backward(minidl.tensor(3.0))
    close(x.grad, 4)


def test_several_roots():
    x = leaf(2.0)
    backward([x * 2, x * x], [None, minidl.tensor(3.0)])
    close(x.grad, 2 + 12)


def test_seed_takes_the_dtype_of_the_root():
    x = leaf(1.0, dtype=minidl.float32)
    (x * 2).backward(minidl.tensor(0.5, dtype=minidl.float64))
    assert x.grad.dtype == minidl.float32


def test_gradient_has_the_dtype_and_shape_of_the_input():
    x = minidl.ones(3, 1, dtype=minidl.float32, requires_grad=True)
    y = minidl.ones(1, 4, dtype=minidl.float64, requires_grad=True)
    (x * y).sum().backward()
    assert (x.grad.shape, x.grad.dtype) == ((3, 1), minidl.float32)
    assert (y.grad.shape, y.grad.dtype) == ((1, 4), minidl.float64)
    close(x.grad, [[4]] * 3)


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (lambda x: (x * 2).backward(), "shape \\(2,\\)"),
        (lambda x: minidl.ones(1).backward(), "does not require a gradient"),
        (lambda x: (x.detach() * 2).sum().backward(), "does not require a gradient"),
        (lambda x: (x * 2).backward(minidl.ones(3)), "\\(3,\\).*\\(2,\\)"),
        (lambda x: backward([x.sum(), x.sum()], [None]), "1 gradients for 2 outputs"),
        (lambda x: x.sum().backward(inputs=[]), "inputs is empty"),
        (lambda x: x.sum().backward(inputs=[minidl.ones(2)]), "does not require a gradient"),
        (lambda x: grad(x.sum(), minidl.ones(2)), "does not require a gradient"),
        (lambda x: grad(x.sum(), [x, leaf(1.0)]), "input 1 .* was not used"),
    ],
)
def test_wrong_calls_of_backward(run, words):
    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match=words):
        run(x)
    assert x.grad is None


def test_gradient_must_be_a_tensor():
    with pytest.raises(TypeError, match="must be a Tensor, got float"):
        leaf(1.0).backward(1.0)


# -- sweeping twice


def test_second_sweep_of_a_freed_graph():
    x = leaf(2.0)
    y = x.exp()
    y.backward()
    with pytest.raises(RuntimeError, match=r"exp .*test_autograd.py:.*already swept.*retain_graph=True"):
        y.backward()
    close(x.grad, np.exp(2))


def test_retain_graph():
    x = leaf(2.0)
    y = x.exp()
    y.backward(retain_graph=True)
    y.backward()
    close(x.grad, 2 * np.exp(2))


def test_graph_with_nothing_remembered_may_be_swept_twice():
    x = leaf(1.0, 2.0)
    y = (x + 1).reshape(2, 1).sum()
    y.backward()
    y.backward()
    close(x.grad, [2, 2])


def test_parts_that_were_not_swept_are_kept():
    x = leaf(2.0)
    a = x.exp()
    b, c = a.sin(), a.cos()
    grad(b, a)
    c.backward()
    close(x.grad, -np.sin(np.exp(2)) * np.exp(2))


# -- grad


def test_grad_touches_no_grad():
    x, y = leaf(2.0), leaf(3.0)
    gx, gy = grad(x * y, [x, y])
    close(gx, 3)
    close(gy, 2)
    assert x.grad is None and y.grad is None and not gx.requires_grad


def test_grad_of_interior_tensors():
    x = leaf(2.0)
    a = x * 3
    b = a * a
    ga, gb, gx = grad(b * 2, [a, b, x])
    close(ga, 24)
    close(gb, 2)
    close(gx, 72)


def test_grad_of_a_tensor_by_itself():
    x = leaf(2.0)
    y = x * 3
    close(grad(y, y)[0], 1)


def test_unused_inputs():
    x, y = leaf(2.0), leaf(1.0, 1.0)
    z = x * x
    assert grad(z, [y], allow_unused=True, retain_graph=True) == (None,)
    close(grad(z, [x, y], materialize_grads=True)[1], [0, 0])


def test_only_the_needed_way_is_swept():
    seen = []

    @differentiable
    def watched(input):
        return input * 2

    watched.vjp(input=lambda g: (seen.append(1), g * 2)[1])
    x, y = leaf(2.0), leaf(3.0)
    z = watched(x) * y
    grad(z, y, retain_graph=True)
    z.backward(inputs=y)
    assert not seen and x.grad is None
    close(y.grad, 4)


def test_backward_to_inputs_that_are_no_leaves():
    x = leaf(2.0)
    a = x * 3
    (a * a).backward(inputs=[a])
    close(a.grad, 12)
    assert x.grad is None


# -- depth and memory

DEPTH = 50_000


def test_long_chains():
    x = leaf(1.0)
    y = x
    for _ in range(DEPTH):
        y = y + 1e-5
    repr(y)
    y.backward()
    close(x.grad, 1)
    del y


def test_long_chains_with_create_graph():
    x = leaf(1.0)
    y = x
    for _ in range(DEPTH):
        y = y * 1.00001
    (g,) = grad(y, x, create_graph=True)
    repr(g)
    close(g, 1.00001**DEPTH)
    del y, g


def test_long_chains_dropped_without_backward():
    x = leaf(1.0)
    y = x
    for _ in range(DEPTH):
        y = y.sin()
    del y
    z = x * 1
    for _ in range(5_000):
        z += 1  # a chain of changes in place
    v = z[...]
    for _ in range(300):
        v += 1
    (z * 1).backward()
    close(x.grad, 1)


def makers():
    """Ways to make a graph; each returns the tensors and nodes that must be gone when the last reference is."""

    def plain(x):
        a = x.exp()
        return [a, (a * a).sum()]

    def views(x):
        a = x * 1
        v = a[1:]
        v *= 2
        w = a.reshape(-1)[:1]
        w.sin_()
        return [a, v, w, a.sum()]

    def assigned(x):
        a = x * 1
        a[0] = x[1]
        a[a > 0] = 3.0
        return [a, a.sum()]

    def function(x):
        class Saves(Function):
            @staticmethod
            def forward(ctx, x):
                out, other = x * 2, x * 3
                ctx.save_for_backward(x, out, other)
                return out, other

            @staticmethod
            def backward(ctx, g, h):
                return g * 2 + h * 3

        a, b = Saves.apply(x.exp())
        return [a, b, (a * b).sum()]

    def hooked(x):
        a = x * 2
        handle = a.register_hook(lambda g: g * 2)
        a.retain_grad()
        assert handle is not None
        return [a, a.exp().sum()]

    def twice(x):
        a = x.exp()  # remembers its output
        b = a.sum()
        (g,) = grad(b, a, create_graph=True)
        (h,) = grad((a * a.tanh()).sum(), x, create_graph=True)
        return [a, b, g, h]

    def swept(x):
        a = x.exp()
        b = a.sum()
        b.backward(retain_graph=True)
        return [a, b]

    def failed(x):
        a = x * 1
        b = (a * a).sum()
        a += 1
        with pytest.raises(RuntimeError):
            b.backward()
        return [a, b]

    return [plain, views, assigned, function, hooked, twice, swept, failed]


@pytest.mark.parametrize("make", makers(), ids=lambda make: make.__name__)
def test_graphs_are_freed_without_the_cycle_collector(make):
    x = leaf(0.1, 0.2, 0.3)
    gc.collect()
    gc.disable()
    try:
        made = make(x)
        watched = [weakref.ref(t) for t in made] + [weakref.ref(t.grad_fn) for t in made if t.grad_fn is not None]
        assert len(watched) > len(made)
        if make.__name__ == "failed":  # pytest's record of the error holds frames
            gc.collect()
        del made
        assert [ref() for ref in watched if ref() is not None] == []
    finally:
        gc.enable()


def test_what_is_not_needed_is_not_remembered():
    x, c = leaf(1.0, 2.0), minidl.tensor([3.0, 4.0], dtype=minidl.float64)
    assert list((x * c).grad_fn.kept) == ["other"]
    assert list((x + c).grad_fn.kept) == []
    assert list(x.exp().grad_fn.kept) == ["out"]
    assert list((x @ c).grad_fn.parents) != []
    big = x * 2
    out = (big + 1).sum()  # add needs neither
    ref = weakref.ref(big)
    del big
    assert ref() is None
    out.backward()


def test_remembered_arrays_are_freed_as_the_sweep_passes():
    x = leaf(1.0, 2.0)
    a = x.exp()
    b = a.sin()
    freed = []
    x.register_hook(lambda g: freed.extend([a.grad_fn.kept, b.grad_fn.kept]))
    b.sum().backward()
    assert freed == [None, None] or (freed[1] is None and a.grad_fn.kept is None)


def test_nothing_is_recorded_without_need():
    c = minidl.ones(2)
    assert (c * 2).grad_fn is None
    with minidl.no_grad():
        assert (leaf(1.0) * 2).grad_fn is None
    assert (leaf(1.0) > 0).grad_fn is None and leaf(1.0).to(minidl.int64).grad_fn is None


# -- hooks


def test_hooks_see_replace_and_can_be_removed():
    x = leaf(1.0, 2.0)
    seen = []
    y = x * 3
    first = y.register_hook(lambda g: seen.append(("first", g.tolist())))
    y.register_hook(lambda g: g * 10)
    y.register_hook(lambda g: seen.append(("last", g.tolist())))
    z = y.sum()
    z.backward(retain_graph=True)
    assert seen == [("first", [1, 1]), ("last", [10, 10])]
    close(x.grad, [30, 30])
    first.remove()
    first.remove()
    z.backward()
    assert [name for name, _ in seen] == ["first", "last", "last"]


def test_hooks_on_leaves_and_with_blocks():
    x = leaf(1.0)
    with x.register_hook(lambda g: g * 2):
        (x * 3).backward()
    (x * 3).backward()
    close(x.grad, 9)


def test_a_gradient_kept_by_a_hook_does_not_change_later():
    x = leaf(1.0)
    kept = []
    x.register_hook(kept.append)
    (x * 2).backward()
    (x * 3).backward()
    close(kept[0], 2)
    close(kept[1], 3)
    mine = minidl.tensor(7.0, dtype=minidl.float64)
    y = leaf(1.0)
    y.register_hook(lambda g: mine)
    (y * 2).backward()
    (y * 2).backward()
    assert (mine.item(), y.grad.item()) == (7, 14)


def test_hooks_on_the_way_of_grad():
    x = leaf(2.0)
    y = x * 3
    y.register_hook(lambda g: g + 1)
    close(grad(y * y, y, retain_graph=True)[0], 13)
    close(grad(y * y, x)[0], 39)


def test_hooks_with_create_graph():
    x = leaf(2.0)
    y = x * x
    y.register_hook(lambda g: g * x)
    (g,) = grad(y, x, create_graph=True)  # 2 x^2
    close(grad(g, x)[0], 8)


def test_hook_of_the_wrong_shape():
    x = leaf(1.0, 2.0)
    y = x * 2
    y.register_hook(lambda g: g.sum())
    with pytest.raises(minidl.ShapeError, match="hook returned shape"):
        y.sum().backward()


def test_retain_grad():
    x = leaf(1.0, 2.0)
    y = x * 2
    y.retain_grad()
    y.register_hook(lambda g: g * 5)
    (y * 3).sum().backward()
    close(y.grad, [15, 15])
    x.retain_grad()  # nothing to do on a leaf
    with pytest.raises(RuntimeError, match="retain_grad"):
        minidl.ones(1).retain_grad()
    with pytest.raises(RuntimeError, match="register_hook"):
        minidl.ones(1).register_hook(print)


# -- recording or not


def test_no_grad_and_enable_grad_nest():
    x = leaf(1.0)
    with minidl.no_grad():
        assert not (x * 2).requires_grad
        with minidl.enable_grad():
            assert (x * 2).requires_grad
        assert not minidl.is_grad_enabled()
    assert (x * 2).requires_grad


@pytest.mark.parametrize(
    ("switch", "inside"),
    [(minidl.no_grad, False), (minidl.enable_grad, True), (minidl.inference_mode, False)],
)
@pytest.mark.parametrize("outside", [True, False])
def test_switches_as_decorators(switch, inside, outside):
    @switch
    def bare():
        return minidl.is_grad_enabled()

    @switch()
    def called(depth=2):
        """Words."""
        return called(depth - 1) if depth else minidl.is_grad_enabled()

    with minidl.set_grad_enabled(outside):
        assert bare() is inside and called() is inside
        assert minidl.is_grad_enabled() is outside
    assert called.__name__ == "called" and called.__doc__ == "Words."


def test_set_grad_enabled_as_a_call():
    minidl.set_grad_enabled(False)
    try:
        assert not minidl.is_grad_enabled()
    finally:
        minidl.set_grad_enabled(True)
    assert minidl.is_grad_enabled()

    @minidl.set_grad_enabled(False)
    def off():
        return minidl.is_grad_enabled()

    assert minidl.is_grad_enabled() and not off()


def test_inference_mode_off_switches_recording_on():
    with minidl.no_grad(), minidl.inference_mode(False):
        assert minidl.is_grad_enabled()


def test_one_switch_entered_twice_and_left_by_an_exception():
    off = minidl.no_grad()
    with off:
        with off:
            pass
        assert not minidl.is_grad_enabled()
    assert minidl.is_grad_enabled()
    with pytest.raises(KeyError), off:
        raise KeyError
    assert minidl.is_grad_enabled()


def test_recording_is_each_threads_own():
    found = []
    with minidl.no_grad():
        thread = threading.Thread(target=lambda: found.append(minidl.is_grad_enabled()))
        thread.start()
        thread.join()
    assert found == [True]


def test_generators_are_refused():
    with pytest.raises(TypeError, match="generator"):

        @minidl.no_grad()
        def numbers():
            yield 1


def test_two_threads_sweep_their_own_graphs():
    results = {}

    def work(seed):
        x = leaf(*np.random.default_rng(seed).normal(size=50))
        for _ in range(20):
            y = x
            for _ in range(30):
                y = (y * y + x).tanh()
            y.sum().backward()
        results.setdefault(seed, []).append(x.grad.tolist())

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (0, 1, 0, 1)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert results[0][0] == results[0][1] and results[1][0] == results[1][1] and results[0] != results[1]


# -- order two


def test_second_derivative_by_hand():
    x = leaf(2.0)
    (g,) = grad(x**4, x, create_graph=True)
    (h,) = grad(g, x, create_graph=True)
    (third,) = grad(h, x)
    close(g, 32)
    close(h, 48)
    close(third, 48)


def perceptron(x, w1, w2):
    return ((x @ w1).tanh() @ w2).sigmoid()


def problem(seed=0):
    rng = np.random.default_rng(seed)
    return [minidl.tensor(rng.normal(size=shape), requires_grad=True) for shape in ((5, 3), (3, 4), (4, 1))]


def test_gradient_penalty():
    x, w1, w2 = problem()

    def penalty(w1, w2):
        (g,) = grad(perceptron(x, w1, w2).sum(), x, create_graph=True)
        return (g.norm(dim=1) - 1).square().mean()

    penalty(w1, w2).backward()
    direction = [np.random.default_rng(1).normal(size=w.shape) for w in (w1, w2)]
    step = 1e-6
    ends = []
    for sign in (1, -1):
        moved = [(w.detach() + sign * step * minidl.tensor(d)).requires_grad_() for w, d in zip((w1, w2), direction)]
        ends.append(penalty(*moved).item())
    slope = sum((w.grad.numpy() * d).sum() for w, d in zip((w1, w2), direction))
    assert slope == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-6)


def test_hessian_vector_product_of_a_perceptron():
    x, w1, w2 = problem()
    v = minidl.tensor(np.random.default_rng(2).normal(size=(3, 4)))

    def loss(w):
        return perceptron(x.detach(), w, w2.detach()).square().sum()

    _, product = minidl.autograd.functional.hvp(loss, w1.detach(), v)
    step = 1e-5
    ends = []
    for sign in (1, -1):
        w = (w1.detach() + sign * step * v).requires_grad_()
        ends.append(grad(loss(w), w)[0].numpy())
    np.testing.assert_allclose(product.numpy(), (ends[0] - ends[1]) / (2 * step), rtol=1e-6, atol=1e-8)
    whole = minidl.autograd.functional.hessian(loss, w1.detach()).reshape(12, 12)
    close(product.reshape(12), whole.numpy() @ v.numpy().reshape(12))


# -- functional


def test_functional_against_differences():
    rng = np.random.default_rng(3)
    x, v = rng.normal(size=(2, 3)), rng.normal(size=(2, 3))

    def func(t):
        return (t @ t.T).tanh() * t.sum()

    out, pushed = minidl.autograd.functional.jvp(func, minidl.tensor(x), minidl.tensor(v))
    step = 1e-6
    moved = [func(minidl.tensor(x + sign * step * v)).numpy() for sign in (1, -1)]
    np.testing.assert_allclose(pushed.numpy(), (moved[0] - moved[1]) / (2 * step), rtol=1e-6, atol=1e-8)
    close(out, func(minidl.tensor(x)).numpy())
    whole = minidl.autograd.functional.jacobian(func, minidl.tensor(x))
    assert whole.shape == (2, 2, 2, 3)
    close(pushed, (whole.numpy() * v).sum((2, 3)))
    u = rng.normal(size=(2, 2))
    close(
        minidl.autograd.functional.vjp(func, minidl.tensor(x), minidl.tensor(u))[1], np.einsum("ij,ijkl->kl", u, whole.numpy())
    )


def test_functional_empty_output_and_recording_off():
    with minidl.no_grad():
        assert minidl.autograd.functional.jacobian(lambda x: x[:0], minidl.ones(3)).shape == (0, 3)
        close(minidl.autograd.functional.jacobian(lambda x: x * 2, minidl.ones(2)), 2 * np.eye(2))


@pytest.mark.parametrize("options", [{"vectorize": True}, {"strategy": "forward-mode"}])
def test_functional_refuses_what_it_does_not_do(options):
    with pytest.raises(NotImplementedError, match="vectorize=False and strategy"):
        minidl.autograd.functional.jacobian(lambda x: x, minidl.ones(1), **options)


def test_functional_names_what_is_no_tensor():
    with pytest.raises(TypeError, match=r"vjp: inputs must be .* got list|vjp: inputs must be .* got int"):
        minidl.autograd.functional.vjp(lambda x: x, (1,))
    with pytest.raises(TypeError, match=r"jacobian: the result of func must be .* got float"):
        minidl.autograd.functional.jacobian(lambda x: 1.0, minidl.ones(1))


# -- one's own op


def test_gradients_have_the_memory_order_of_their_tensors():
    """So that ``p.grad.view(-1)`` works wherever ``p.view(-1)`` does."""
    x = minidl.randn(4, 3, 6, 6, requires_grad=True)
    turned = minidl.randn(3, 6, 6, 4).permute(3, 0, 1, 2).requires_grad_()
    net = minidl.nn.Sequential(minidl.nn.Conv2d(3, 4, 3, stride=2), minidl.nn.Conv2d(4, 2, 1, groups=2), minidl.nn.Flatten())
    for leaf in (x, turned):
        net(leaf).sum().backward()
        assert leaf.grad.stride() == leaf.stride()
    for p in net.parameters():
        assert p.grad.stride() == p.stride()


def test_second_derivative_of_a_power_at_exponent_0():
    """The slope ``y * x ** (y - 1)`` is 0 there, but its own slope in y is not."""
    x, y = (minidl.tensor(v, dtype=minidl.float64, requires_grad=True) for v in (3.5, 0.0))
    (first,) = minidl.autograd.grad(x**y, x, create_graph=True)
    (second,) = minidl.autograd.grad(first, y)
    assert first == 0 and second.item() == pytest.approx(1 / 3.5)


def test_many_parts_of_one_tensor_share_one_gradient_array(monkeypatch):
    from minidl.ops import index

    made = []
    monkeypatch.setattr(index, "zeros_for", lambda g, shape, real=index.zeros_for: made.append(shape) or real(g, shape))
    x = leaf([[float(i * j) for i in range(4)] for j in range(6)])
    y = 1.0 * x
    loss = sum((i + 1) * (y[i] ** 2).sum() for i in range(6)) + y[1:4].sum() + 2 * y[[0, 0, 2]].sum() + y[::2, 3].prod()
    loss.backward()
    expected = 2 * (np.arange(6) + 1)[:, None] * x.detach().numpy()
    expected[1:4] += 1
    expected[[0, 2]] += [[4.0], [2.0]]
    column = x.detach().numpy()[::2, 3]
    expected[::2, 3] += [column[1] * column[2], column[0] * column[2], column[0] * column[1]]
    close(x.grad, expected)
    assert made == [(6, 4)]  # nine parts, and not nine arrays of the size of the whole


def test_parts_of_a_tensor_whose_gradient_is_somebody_elses():
    x = leaf(1.0, 2.0, 3.0)
    y = 2 * x
    z = y + 0.0  # its rule hands its own gradient on
    seen = []
    y.register_hook(lambda g: seen.append(g.numpy().copy()))
    given = minidl.ones(3, dtype=minidl.float64)
    backward([y[:1].sum(), z, y[1:]], [None, given, minidl.ones(2, dtype=minidl.float64)])
    close(given, [1, 1, 1])
    close(x.grad, [4, 4, 4])
    assert seen[0].tolist() == [2, 2, 2]


def test_a_part_needs_its_graph_like_any_op():
    x = leaf([1.0, 2.0, 3.0])
    y = x * x
    loss = (y[minidl.tensor([0, 2])] + y[:2]).sum()
    loss.backward()
    with pytest.raises(RuntimeError, match="already swept"):
        loss.backward()


def test_an_op_of_ones_own():
    @differentiable
    def cube(input):
        return input**3

    cube.vjp(input=lambda g, input: g * 3 * input**2)
    assert cube(np.array(2.0)) == 8 and isinstance(cube(np.ones(2)), np.ndarray)
    x = leaf(1.5, -2.0)
    assert gradcheck(cube, (x,)) and gradgradcheck(cube, (x,))


def test_keeps_wanted_and_joint_rules():
    asked = []

    @differentiable(keeps="difference")
    def distance(input, other, scale=1.0):
        difference = input - other
        return difference * difference * scale, difference

    def rule(g, difference, scale, wanted):
        asked.append(wanted)
        return 2 * scale * g * difference, -2 * scale * g * difference if wanted[1] else None

    distance.vjp(rule, input=None, other=None)
    x, y = leaf(1.0, 2.0), leaf(5.0, 5.0)
    assert isinstance(distance(np.ones(2), np.zeros(2)), np.ndarray)
    distance(x, y.detach(), scale=3.0).sum().backward()
    close(x.grad, [-24, -18])
    assert asked == [(True, False)]
    distance(x, y).sum().backward()
    close(y.grad, [8, 6])
    assert asked[1] == (True, True)


def test_an_op_of_a_sequence():
    @differentiable
    def total(tensors, weight=1.0):
        return sum(tensors) * weight

    total.vjp(tensors=lambda g, tensors, weight: tuple(g * weight for _ in tensors))
    x, c, y = leaf(1.0, 2.0), minidl.ones(2, dtype=minidl.float64), leaf(3.0, 4.0)
    total([x, c, y], weight=2.0).sum().backward()
    close(x.grad, [2, 2])
    close(y.grad, [2, 2])


def test_shapes_as_names():
    @differentiable
    def last(input):
        return input[..., -1]

    def rule(g, input_shape):
        out = np.zeros(input_shape)
        out[..., -1] = g
        return out

    last.vjp(input=rule)
    x = minidl.ones(2, 3, dtype=minidl.float64, requires_grad=True)
    y = last(x)
    assert list(y.grad_fn.kept) == ["input_shape"]
    y.sum().backward()
    close(x.grad, [[0, 0, 1]] * 2)


def test_rules_that_are_wrong():
    @differentiable
    def op(input):
        return input * 2

    for rule in (lambda input: input, lambda g, nothing: g, lambda: 0):
        with pytest.raises(TypeError, match="op: a rule takes g and then names from"):
            op.vjp(input=rule)
    with pytest.raises(TypeError, match=r"op: .*'nothing'.*'input'"):
        op.vjp(nothing=lambda g: g)
    op.vjp(input=lambda g: np.ones(7))
    with pytest.raises(minidl.ShapeError, match=r"a rule of op gave a gradient of shape \(7,\) for an input of shape \(2,\)"):
        op(leaf(1.0, 2.0)).sum().backward()


def test_arguments_that_are_wrong():
    @differentiable
    def op(input, scale):
        return input * scale

    for args, options, words in [
        (("a", 1), {}, "op: the argument 'input' must be"),
        ((leaf(1.0),), {}, "op: the argument 'scale' is missing"),
        ((leaf(1.0), 1, 2), {}, "op: takes 2 arguments"),
        ((leaf(1.0), 1), {"more": 2}, "op: got an unexpected argument 'more'"),
    ]:
        with pytest.raises(TypeError, match=words):
            op(*args, **options)


# -- Function


class Product(Function):
    """``x * y`` and ``x + y``, with a rule that is differentiable again."""

    @staticmethod
    def forward(ctx, x, y, scale):
        ctx.save_for_backward(x, y)
        ctx.scale = scale
        return x * y * scale, x + y

    @staticmethod
    def backward(ctx, g, h):
        x, y = ctx.saved_tensors
        return g * y * ctx.scale + h, g * x * ctx.scale + h, None


def test_function_of_several_outputs():
    x, y = leaf(2.0, 3.0), leaf(5.0, 7.0)
    a, b = Product.apply(x, y, 10.0)
    assert (a.requires_grad, a.is_leaf, a.grad_fn.name()) == (True, False, "Product")
    (a.sum() + (b * b).sum()).backward()
    close(x.grad, [50 + 14, 70 + 20])
    close(y.grad, [20 + 14, 30 + 20])
    x.grad = None
    Product.apply(x, y, 10.0)[1].sum().backward()  # only one output is used: the other's gradient is zeros
    close(x.grad, [1, 1])


def test_function_to_order_two():
    x, y = leaf(2.0, 3.0), leaf(5.0, 7.0)
    assert gradcheck(lambda x, y: Product.apply(x, y, 2.0), (x, y))
    assert gradgradcheck(lambda x, y: Product.apply(x * 1, y, 2.0), (x, y))


def test_function_can_save_its_output():
    class Exp(Function):
        @staticmethod
        def forward(ctx, x):
            out = x.exp()
            ctx.save_for_backward(None, out)
            return out

        @staticmethod
        def backward(ctx, g):
            nothing, out = ctx.saved_tensors
            assert nothing is None
            return g * out

    assert gradcheck(Exp.apply, (leaf(0.3, -0.4),)) and gradgradcheck(Exp.apply, (leaf(0.3, -0.4),))
    x = leaf(1.0)
    y = Exp.apply(x)
    y.backward()
    with pytest.raises(RuntimeError, match="freed after backward"):
        y.backward()


def test_function_knows_which_gradients_are_wanted():
    seen = []

    class Watch(Function):
        @staticmethod
        def forward(ctx, x, y, n):
            return x + y

        @staticmethod
        def backward(ctx, g):
            seen.append(ctx.needs_input_grad)
            return g, None, None

    Watch.apply(leaf(1.0), minidl.ones(1), 3).sum().backward()
    assert seen == [(True, False, False)]


def test_function_with_setup_context_and_unmaterialised_gradients():
    class Two(Function):
        @staticmethod
        def forward(x):
            return x * 2, x * 3

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.set_materialize_grads(False)

        @staticmethod
        def backward(ctx, g, h):
            assert h is None
            return g * 2

    x = leaf(1.0)
    Two.apply(x)[0].backward()
    close(x.grad, 2)


def test_function_output_without_gradient():
    class Sort(Function):
        @staticmethod
        def forward(ctx, x):
            out, places = x * 2, x * 3
            ctx.mark_non_differentiable(places)
            return out, places

        @staticmethod
        def backward(ctx, g, _):
            return g * 2

    x = leaf(1.0)
    out, places = Sort.apply(x)
    assert out.requires_grad and not places.requires_grad
    out.backward()
    close(x.grad, 2)


def test_function_that_hands_its_input_through():
    class Reverse(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return -g * x

    x = leaf(3.0)
    y = Reverse.apply(x)
    assert y is not x and x.is_leaf and y.data_ptr() == x.data_ptr()
    y.backward()
    close(x.grad, -3)
    (g,) = grad(Reverse.apply(x), x, create_graph=True)
    close(grad(g, x)[0], -1)  # x itself was saved, so the derivative of -x is -1


class Misshapen(Function):
    @staticmethod
    def forward(ctx, x):
        return x * 1

    @staticmethod
    def backward(ctx, g):
        return minidl.ones(3)


def test_function_errors():
    def of(result):
        class Wrong(Function):
            @staticmethod
            def forward(ctx, x, y):
                return x * 1

            @staticmethod
            def backward(ctx, g):
                return result

        return Wrong.apply(leaf(1.0), leaf(1.0))

    one = minidl.ones((), dtype=minidl.float64)
    for result in [one, (one,), (one, one, one)]:
        with pytest.raises(RuntimeError, match=r"Wrong.*gradients for 2 inputs"):
            of(result).backward()
    of((one, one, None)).backward()
    with pytest.raises(TypeError, match=r"Wrong.* tensors or None, got float"):
        of((1.0, None)).backward()
    of((minidl.ones(5), None)).backward()  # summed, as if it had been broadcast
    with pytest.raises(minidl.ShapeError, match=r"Misshapen.*\(3,\).*\(2,\)"):
        Misshapen.apply(leaf(1.0, 2.0)).sum().backward()

    class Numbers(Function):
        @staticmethod
        def forward(ctx, x):
            return 1.0

    with pytest.raises(TypeError, match="Numbers: forward must return a tensor"):
        Numbers.apply(leaf(1.0))

    class Saves(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(1.0)

    with pytest.raises(TypeError, match="save_for_backward: takes tensors or None, got float"):
        Saves.apply(leaf(1.0))
    with pytest.raises(NotImplementedError, match="forward"):
        Function.apply(leaf(1.0))


def test_function_gets_tensors_that_hold_arrays():
    seen = []

    class Watch(Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1

        @staticmethod
        def backward(ctx, g):
            seen.append(type(g.detach().numpy()))
            g[...] = 5.0
            return g

    x = leaf(1.0)
    (Watch.apply(x) * 2 * 3).backward()
    assert seen == [np.ndarray]
    close(x.grad, 5)


def test_function_notices_a_changed_tensor():
    x, y = leaf(2.0) * 1, leaf(3.0)
    a, _ = Product.apply(x, y, 1.0)
    x += 1
    with pytest.raises(RuntimeError, match=r"saved a tensor of shape \(\).* changed in place by add_ .*test_autograd.py"):
        a.backward()


def test_nothing_is_recorded_inside_forward():
    class Inside(Function):
        @staticmethod
        def forward(ctx, x):
            assert not minidl.is_grad_enabled() and not (x * 2).requires_grad
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g

    assert Inside.apply(leaf(1.0)).requires_grad
    with minidl.no_grad():
        assert not Inside.apply(leaf(1.0)).requires_grad


# -- copies


def test_deep_copies_and_pickles():
    x = leaf(1.0, 2.0)
    (x * 3).sum().backward()
    y = copy.deepcopy([x, x])
    assert y[0] is y[1] and y[0] is not x and y[0].requires_grad and y[0].is_leaf
    close(y[0].grad, [3, 3])
    y[0].grad += 1
    close(x.grad, [3, 3])
    z = pickle.loads(pickle.dumps(x))
    assert z.requires_grad and z.dtype == minidl.float64
    close(z, [1, 2])
    for fail in (copy.deepcopy, pickle.dumps):
        with pytest.raises(RuntimeError, match="only leaf tensors"):
            fail(x * 2)


def test_an_output_that_nobody_used_has_a_gradient_of_zeros_even_where_it_is_infinite():
    class Two(Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2, x * float("inf")

        @staticmethod
        def backward(ctx, g, h):
            return g * 2 + h

    x = leaf(1.0, 2.0)
    Two.apply(x)[0].sum().backward()
    close(x.grad, [2, 2])


def test_a_function_that_returns_a_view_of_its_input_keeps_its_own_rule():
    class Doubled(minidl.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            out = x[1:]
            ctx.save_for_backward(out)
            return out

        @staticmethod
        def backward(ctx, g):
            (out,) = ctx.saved_tensors
            return minidl.cat([g[:1] * 0, g * out])

    x = minidl.tensor([1.0, 2.0, 3.0], requires_grad=True)
    base = x * 1
    out = Doubled.apply(base)
    base.mul_(10)
    out.sum().backward()
    assert x.grad.tolist() == [0.0, 2.0, 3.0]


def test_arrays_that_only_a_rule_remembers_are_freed_and_missed():
    x = minidl.ones(3, requires_grad=True)
    y = (x * np.arange(3.0)).sum()
    y.backward()
    with pytest.raises(RuntimeError, match="already swept"):
        y.backward()


def test_only_inputs_is_what_grad_does_anyway():
    x = minidl.tensor([1.0, 2.0], requires_grad=True)
    assert grad((x**2).sum(), x, only_inputs=True)[0].tolist() == [2, 4] and x.grad is None
    with pytest.raises(NotImplementedError, match="only_inputs=False"):
        grad(x.sum(), x, only_inputs=False)

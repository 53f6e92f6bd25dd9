"""Rungs: plain kernels are the loops, and whole models compute the same on each."""

import inspect
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_kernels import LAYOUTS, numbers, seeds, windows

import minidl
from minidl import backend, nn, optim
from minidl.kernels import cpu, plain, reference
from minidl.nn import functional as F

usual = backend.kernels(np.ones(1))  # the compiled ones where there is Numba


def close(name, *args, atol=1e-12):
    """Both providers, on copies of their own."""
    a, b = (getattr(provider, name)(*(x.copy() if hasattr(x, "copy") else x for x in args)) for provider in (plain, reference))
    for x, y in zip(a, b, strict=True) if isinstance(a, tuple) else [(a, b)]:
        if y is None:
            assert x is None
        else:
            assert x.shape == y.shape and x.dtype == y.dtype, name
            np.testing.assert_allclose(x, y, atol=atol, err_msg=name)
    return b


def test_every_kernel_has_a_plain_one_with_the_same_arguments():
    for name in cpu.__all__:
        ours, wanted = (inspect.signature(getattr(p, name)) for p in (plain, reference))
        assert list(ours.parameters) == list(wanted.parameters), name


@given(windows(), st.integers(1, 2), st.integers(1, 2), st.integers(0, 2), seeds, st.sampled_from(LAYOUTS), st.booleans())
def test_windows(geometry, groups, filters, n, seed, layout, ties):
    window, size = geometry
    x = numbers(seed, n, 2 * groups, *size, layout=layout)
    w = numbers(seed + 1, filters * groups, 2, *window.kernel)
    g = numbers(seed + 2, n, filters * groups, *window.out_size(size), layout=layout)
    bias = numbers(seed + 3, 1, 1, 1, len(w)).ravel()
    if ties:
        x = np.round(x)
    close("conv2d", x, w, None, window, groups)
    close("conv2d", x, w, bias, window, groups)
    close("conv2d_input_grad", g, w, window, groups, size)
    close("conv2d_weight_grad", x, g, window, groups)
    close("conv2d_relu_pool", x, w, bias, window, groups, None, True)
    g = numbers(seed + 2, n, 2 * groups, *window.out_size(size), layout=layout)
    out = close("max_pool2d", x, window)
    taps, wanted = plain.max_pool2d_taps(x, out, window), reference.max_pool2d_taps(x, out, window)
    np.testing.assert_array_equal(taps[wanted >= 0], wanted[wanted >= 0])  # else the window is wholly in the padding
    close("max_pool2d_place", g, wanted, window, size)
    close("max_pool2d_pick", x, wanted, window)
    close("sum_pool2d", x, window)
    close("sum_pool2d_spread", g, window, size)
    close("fold", close("unfold", x, window), window, size)


@given(st.integers(0, 3), st.integers(1, 4), st.integers(0, 2), seeds)
def test_lines(n, classes, dim, seed):
    rng = np.random.default_rng(seed)
    shape = [n, 2, 3]
    shape[dim] = classes
    x, g = rng.normal(size=shape), rng.normal(size=shape)
    places = rng.integers(0, classes, [1 if d == dim else m for d, m in enumerate(shape)])
    close("softmax_grad", g, close("softmax", x, dim), dim)
    close("log_softmax_grad", g, close("log_softmax", x, dim), dim)
    close("log_softmax_at", x, dim, places)
    close("log_softmax_at_grad", rng.normal(size=places.shape), x, dim, places)
    close("relu_grad", g, close("relu", x))
    close("erf", x)
    close("sum", x, (dim,), True)
    close("sum", x, (0, 2), False)
    close("matmul", x, rng.normal(size=(3 if dim != 2 else classes, 2)))
    close("linear", x, rng.normal(size=(4, shape[2])), rng.normal(size=4))
    dims, one = (1, 2), [shape[0], 1, 1]
    weight, bias = rng.normal(size=(1, *shape[1:])), rng.normal(size=(1, *shape[1:]))
    _, center, variance = close("normalise", x, weight, bias, dims, 1e-5)
    close("normalise", x, None, None, dims, 1e-5, np.zeros(one), np.ones(one))
    for own in ((True, True), (False, True), (False, False)):
        close("normalise_grad", g, x, weight, center, variance, dims, 1e-5, own, weight.shape, atol=1e-9)


def test_what_is_done_in_place():
    for provider in (plain, reference):
        out = np.zeros(3)
        provider.add_at(out, np.array([0, 2, 0]), np.array([1.0, 2.0, 3.0]))
        assert out.tolist() == [4, 0, 2]
        provider.blockwise(lambda a, b: np.add(a, b, out=a), out, np.ones(3))
        assert out.tolist() == [5, 1, 3]
        seen = []
        provider.share(seen.append, 7, 1)
        assert [i for part in seen for i in range(7)[part]] == list(range(7))


def test_nan_goes_through_plain_pooling():
    x, window = np.array([[[[1.0, np.nan], [2.0, 3.0]]]]), minidl.shapes.Window((2, 2))
    out = plain.max_pool2d(x, window)
    assert np.isnan(out).all() and plain.max_pool2d_taps(x, out, window).tolist() == [[[[1]]]]


class Everything(nn.Module):
    """A bit of most layers, small enough for loops over single numbers."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.drop = nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Dropout(0.3)
        self.table, self.lstm = nn.Embedding(5, 3), nn.LSTM(3, 4, batch_first=True)
        self.attention = nn.TransformerEncoderLayer(4, 2, 6, batch_first=True, activation="gelu")
        self.head = nn.Linear(4, 3)

    def forward(self, pictures, words):
        seen = F.avg_pool2d(F.max_pool2d(self.drop(F.relu(self.norm(self.conv(pictures)))), 2), 2).flatten(1)
        told, _ = self.lstm(self.table(words) + seen[:, None])
        return self.head(self.attention(told).mean(1))


def make_step(model, optimizer=None):
    rng = np.random.default_rng(0)
    pictures = minidl.tensor(rng.normal(size=(2, 2, 4, 4)).astype(np.float32))
    words, labels = minidl.tensor([[0, 1, 1], [4, 2, 0]]), minidl.tensor([2, 0])

    def step():
        loss = F.cross_entropy(model(pictures, words), labels)
        loss.backward()
        if optimizer is not None:
            optimizer.step()
        return loss

    return step


def test_a_model_is_the_same_on_every_rung_and_compare_leaves_no_trace():
    model = Everything()
    optimizer = optim.Adam(model.parameters())
    before = {name: t.numpy().copy() for name, t in model.state_dict().items()}
    state = minidl.get_rng_state()
    found = minidl.rung.compare(make_step(model, optimizer))
    assert found.rungs == ("loops", "numpy", "fast") and len(found.seconds) == 3 and min(found.seconds) > 0
    assert set(found.gradients[0]) == {f"model.{name}" for name, _ in model.named_parameters()}
    assert max(found.differences().values()) < 2e-6, found
    assert all(np.any(g != 0) for g in found.gradients[2].values())
    for name, t in model.state_dict().items():
        np.testing.assert_array_equal(t.numpy(), before[name], err_msg=name)
    assert (minidl.get_rng_state() == state).all()
    assert not optimizer.state_dict()["state"] and all(p.grad is None for p in model.parameters())
    assert "model.conv.weight.grad (3, 2, 3, 3)" in str(found) and "time, ms" in str(found)


def test_what_a_step_may_return():
    found = minidl.rung.compare(lambda: (minidl.ones(2).sum().item(), minidl.tensor([float("inf")])))
    assert found.differences() == {"output 0": 0.0, "output 1": 0.0}
    with pytest.raises(TypeError, match="a tensor or a number, a tuple of them, or None; got dict"):
        minidl.rung.compare(lambda: {"loss": minidl.ones(2)})


def test_compare_sees_a_difference():
    calls = []

    def step():
        calls.append(1)
        return minidl.ones(2) * len(calls)

    found = minidl.rung.compare(step, ("numpy", "fast"))
    assert found.differences()["output"] == len(calls) - len(found.outputs[0][0]) - 3  # the first rung ran five times
    with pytest.raises(ValueError, match="'loops', 'numpy', 'fast'.*, got 'slow'"):
        minidl.rung.compare(step, ("slow",))


def test_a_rung_is_entered_again_left_after_an_error_and_decorates():
    x = np.ones(1)
    with minidl.rung("loops"):
        assert backend.kernels(x) is reference
        with minidl.rung("fast"):
            assert backend.kernels(x) is cpu
        assert backend.kernels(x) is reference
    assert backend.kernels(x) is usual
    with pytest.raises(ZeroDivisionError), minidl.rung("numpy"):
        raise ZeroDivisionError
    assert backend.kernels(x) is usual
    assert minidl.rung("numpy")(lambda: backend.kernels(x))() is plain
    seen = []
    with minidl.rung("loops"):
        thread = threading.Thread(target=lambda: seen.append(backend.kernels(x)))
        thread.start()
        thread.join()
    assert seen == [reference]  # as the docs say: for all threads

"""Strict mode: each mistake is caught where it is made, with the line of the program, and nothing else is."""

import re
from pathlib import Path

import numpy as np
import pytest

import minidl
from minidl import nn, optim
from minidl.autograd.mode import mode
from minidl.nn import functional as F

inf, nan = minidl.inf, minidl.nan
HERE = Path(__file__).read_text().splitlines()


def line_of(text):
    """Where in this file that text first stands."""
    return next(i for i, line in enumerate(HERE, 1) if text in line)


def caught(error, *parts):
    for part in parts:
        assert part in str(error.value), str(error.value)


def test_the_first_nan_of_the_forward_pass():
    x = minidl.tensor([0.25, -4.0], requires_grad=True)
    with minidl.strict(), pytest.raises(minidl.inspect.StrictError) as error:
        F.relu(x.log()) + 1  # made here
    caught(error, "log made NaN out of finite numbers", f"test_strict.py:{line_of('# made here')}", "F.relu(x.log()) + 1")
    caught(error, "input: (2,) float32: from -4 to 0.25", "1 NaN")


@pytest.mark.parametrize(
    ("f", "made"),
    [
        (lambda x: x / 0, "Inf"),
        (lambda x: (x * 1000).exp(), "Inf"),
        (lambda x: (x - x) / (x - x), "NaN"),
        (lambda x: (x * inf) * 0, "NaN"),  # the first inf was put in, the NaN is made of it
        (lambda x: (x.half() * 60000) * 60000, "Inf"),
        (lambda x: minidl.cat([x, x.log() * 0]), None),
        (lambda x: x.masked_fill(x > 0, -inf), None),
        (lambda x: minidl.stack([x, x]).masked_fill(minidl.tensor([[True, False]]), -inf).softmax(1), None),
    ],
)
def test_what_is_made_and_what_was_put_in(f, made):
    x = minidl.ones(2)
    with minidl.strict():
        if made is None:
            f(x)
        else:
            with pytest.raises(minidl.inspect.StrictError, match=f"made {made} out of"):
                f(x)


def test_nan_from_outside():
    with minidl.strict(), pytest.raises(minidl.inspect.StrictError, match="relu was given NaN.*\n.*\n.*No op in this block"):
        F.relu(minidl.tensor([nan, 1.0]))
    with minidl.strict():
        assert minidl.tensor([nan]).isnan().all() and minidl.tensor([nan]).nan_to_num() == 0


def test_the_backward_pass():
    x = minidl.tensor([0.0, 4.0], requires_grad=True)
    with minidl.strict():
        y = x.sqrt()  # its slope is infinite
        with pytest.raises(minidl.inspect.StrictError) as error:
            y.sum().backward()
    caught(
        error, "backward: sqrt made Inf in the gradient of 'input'", f"test_strict.py:{line_of('# its slope')}", "add a small"
    )
    assert x.grad is None
    y = minidl.tensor([1.0], requires_grad=True)
    with minidl.strict(), pytest.raises(minidl.inspect.StrictError, match="the gradient that reaches mul is not finite"):
        (y * 2).backward(minidl.tensor([nan]))


def test_an_optimisers_step():
    x = minidl.tensor([1.0, 2.0], requires_grad=True)
    optimizer = optim.SGD([x], lr=1e38)
    with minidl.strict(), pytest.raises(minidl.inspect.StrictError, match="SGD.step made Inf in parameter 0 of group 0"):
        (x * 1e6).sum().backward()
        optimizer.step()


@pytest.mark.parametrize("loss", [F.mse_loss, F.l1_loss, F.smooth_l1_loss, F.huber_loss])
def test_a_loss_that_broadcasts(loss):
    prediction, target = minidl.zeros(5, 1), minidl.ones(5)
    with minidl.strict(), pytest.raises(minidl.ShapeError) as error:
        loss(prediction, target)
    caught(error, "input has shape (5, 1) and target (5,)", "axis 0: 5 in input, 1 in target (added in front)")
    caught(error, "axis 1: 1 in input, 5 in target", f"test_strict.py:{line_of('loss(prediction, target)')}")
    with minidl.strict():
        loss(prediction, target[:, None])
    with pytest.warns(UserWarning, match="broadcast"):  # without, as PyTorch does
        loss(prediction, target)


def test_losses_of_distributions_that_broadcast():
    input, target = minidl.ones(5, 1), minidl.ones(5)
    several = {
        "kl_div": lambda: F.kl_div(input, target, reduction="sum"),
        "poisson_nll_loss": lambda: F.poisson_nll_loss(input, target),
        "gaussian_nll_loss": lambda: F.gaussian_nll_loss(input, target, minidl.ones(5, 1)),
    }
    for name, loss in several.items():
        with minidl.strict(), pytest.raises(minidl.inspect.StrictShapeError) as error:
            loss()
        caught(error, f"{name}: input has shape (5, 1) and target (5,)")
        loss()


class Log(minidl.autograd.Function):
    """By NumPy, forward and backward."""

    @staticmethod
    def forward(ctx, x, y):
        return minidl.from_numpy(np.log(x.detach().numpy())), y + 1

    @staticmethod
    def backward(ctx, g, h):
        return minidl.from_numpy(g.numpy() * np.float32("nan")), h


def test_a_function_that_computes_with_numpy():
    x, y = minidl.tensor([1.0, 0.0], requires_grad=True), minidl.ones(2, requires_grad=True)
    with minidl.strict(), pytest.raises(minidl.inspect.StrictError) as error:
        Log.apply(x, y)  # forward
    caught(error, "Log made Inf out of finite numbers", f"test_strict.py:{line_of('# forward')}", "input 0: (2,)")
    with minidl.strict(), pytest.raises(minidl.inspect.StrictError) as error:
        sum(out.sum() for out in Log.apply(y, x)).backward()
    caught(error, "backward: Log made NaN in the gradient of 'input 0'", "what came in: (2,) float32: all 1", "2 NaN")


def test_a_loss_by_hand_that_broadcasts():
    prediction, target = minidl.zeros(5, 1, requires_grad=True), minidl.ones(5)
    with minidl.strict():
        error_by_hand = prediction - target  # by hand
        loss = (error_by_hand**2).mean()
        with pytest.raises(minidl.inspect.StrictShapeError) as error:
            loss.backward()
    caught(error, "left has shape (5, 1) and right (5,)", f"test_strict.py:{line_of('# by hand')}")


def test_what_broadcasts_and_is_no_loss():
    x = minidl.zeros(5, 1, requires_grad=True)
    with minidl.strict():
        (F.softmax(x - minidl.ones(5), 1) ** 2).mean().backward()  # distances, inside a network
        ((x - x.mean(0)) ** 2).mean().backward()  # one is stretched to the other


@pytest.mark.parametrize("way", ["numpy", "shared"])
def test_a_change_through_numpy(way):
    array = np.ones(3, np.float32)
    x, t = minidl.ones(3, requires_grad=True), minidl.from_numpy(array)
    with minidl.strict():
        loss = (x * t).sum()  # the forward
        if way == "numpy":
            t.numpy()[0] = 5  # handed out
        else:
            array[0] = 5
        with pytest.raises(minidl.inspect.StrictError) as error:
            loss.backward()
    caught(error, f"backward: mul, at {__file__}:{line_of('# the forward')}", "needs its 'other' of shape (3,)")
    caught(error, f"test_strict.py:{line_of('# handed out')}" if way == "numpy" else "a NumPy array that shares the memory")


def test_a_change_in_place_names_both_lines():
    x, t = minidl.ones(3, requires_grad=True), minidl.ones(3)
    with minidl.strict():
        loss = (x * t).sum()  # first line
        t += 1  # second line
        with pytest.raises(RuntimeError) as error:
            loss.backward()
    caught(error, f"test_strict.py:{line_of('# first line')}", f"test_strict.py:{line_of('# second line')}")


def test_training_is_let_be_and_the_same():
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.2), nn.Linear(8, 3)
    )
    x, y = minidl.randn(4, 1, 6, 6), minidl.tensor([0, 1, 2, 0])
    start, losses = {k: v.clone() for k, v in model.state_dict().items()}, []
    for watch in (False, True):
        model.load_state_dict(start)
        minidl.manual_seed(1)
        optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        with minidl.strict() if watch else minidl.enable_grad():
            for _ in range(3):
                optimizer.zero_grad()
                loss = F.cross_entropy(model(x), y)
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
    assert losses[:3] == losses[3:]
    assert mode.watcher is None


def test_second_order_and_functions():
    x = minidl.tensor([0.5, 2.0], requires_grad=True)
    with minidl.strict():
        (g,) = minidl.autograd.grad((x**3).sum(), x, create_graph=True)
        g.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 6 * np.array([0.5, 2.0]))

    class Bad(minidl.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g * nan

    with minidl.strict(), pytest.raises(minidl.inspect.StrictError, match=re.escape("was given NaN")):
        Bad.apply(minidl.ones(2, requires_grad=True)).sum().backward()

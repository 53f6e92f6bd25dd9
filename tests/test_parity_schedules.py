"""Schedules against PyTorch's: the same rates, epoch by epoch."""

import pickle

import numpy as np
import pytest

import minidl

torch = pytest.importorskip("torch")

SCHEDULES = {
    "step": lambda lr, o: lr.StepLR(o, 3, gamma=0.5),
    "multi_step": lambda lr, o: lr.MultiStepLR(o, [2, 5, 5, 9]),
    "multi_step_at_0": lambda lr, o: lr.MultiStepLR(o, [0, 5], gamma=0.2),
    "exponential": lambda lr, o: lr.ExponentialLR(o, 0.9),
    "linear": lambda lr, o: lr.LinearLR(o),
    "linear_down": lambda lr, o: lr.LinearLR(o, 1.0, 0.2, 7),
    "constant": lambda lr, o: lr.ConstantLR(o, 0.5, 4),
    "cosine": lambda lr, o: lr.CosineAnnealingLR(o, 6, eta_min=0.01),
    "cosine_default": lambda lr, o: lr.CosineAnnealingLR(o, 25),
    "lambda": lambda lr, o: lr.LambdaLR(o, lambda epoch: 0.95**epoch),
    "lambdas": lambda lr, o: lr.LambdaLR(o, [lambda epoch: epoch // 3, lambda epoch: 1 / (epoch + 1)]),
    "sequential": lambda lr, o: lr.SequentialLR(
        o, [lr.LinearLR(o, 0.1, 1.0, 4), lr.CosineAnnealingLR(o, 8), lr.ExponentialLR(o, 0.5)], [4, 12]
    ),
    "sequential_rest": lambda lr, o: lr.SequentialLR(
        o,
        [lr.ConstantLR(o, 0.1, 3), lr.MultiStepLR(o, [2]), lr.LambdaLR(o, lambda epoch: 1 + epoch), lr.StepLR(o, 2)],
        [3, 8, 11],
    ),
}  # fmt: skip


def two_groups(lib):
    params = [lib.nn.Parameter(lib.zeros(1)) for _ in range(2)]
    return lib.optim.SGD([{"params": params[:1]}, {"params": params[1:], "lr": 0.05}], lr=0.2)


def rates(lib, optimizer, schedule, epochs):
    found = []
    for _ in range(epochs):
        found.append([group["lr"] for group in optimizer.param_groups])
        assert found[-1] == schedule.get_last_lr()
        optimizer.step()
        schedule.step()
    return found


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.filterwarnings("error")
def test_schedule(name):
    found = []
    for lib in (torch, minidl):
        optimizer = two_groups(lib)
        schedule = SCHEDULES[name](lib.optim.lr_scheduler, optimizer)
        found.append(rates(lib, optimizer, schedule, 25))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-13)


@pytest.mark.parametrize("name", SCHEDULES)
def test_resumed_schedule(name):
    make = lambda: (lambda o: (o, SCHEDULES[name](minidl.optim.lr_scheduler, o)))(two_groups(minidl))  # noqa: E731
    optimizer, schedule = make()
    unbroken = rates(minidl, optimizer, schedule, 25)
    optimizer, schedule = make()
    begun = rates(minidl, optimizer, schedule, 9)
    saved = pickle.loads(pickle.dumps((optimizer.state_dict(), schedule.state_dict())))
    optimizer, schedule = make()
    optimizer.load_state_dict(saved[0])
    schedule.load_state_dict(saved[1])
    assert begun + rates(minidl, optimizer, schedule, 16) == unbroken


@pytest.mark.parametrize("name", ["step", "multi_step", "exponential", "linear", "constant", "cosine", "lambda"])
def test_schedule_from_a_later_epoch(name):
    found = []
    for lib in (torch, minidl):
        optimizer = two_groups(lib)
        for group in optimizer.param_groups:
            group["initial_lr"], group["lr"] = 0.3, 0.1
        make = {
            "step": lambda lr, o: lr.StepLR(o, 3, 0.5, last_epoch=4),
            "multi_step": lambda lr, o: lr.MultiStepLR(o, [5, 8], last_epoch=4),
            "exponential": lambda lr, o: lr.ExponentialLR(o, 0.9, last_epoch=4),
            "linear": lambda lr, o: lr.LinearLR(o, 0.1, 1.0, 8, last_epoch=4),
            "constant": lambda lr, o: lr.ConstantLR(o, 0.1, 7, last_epoch=4),
            "cosine": lambda lr, o: lr.CosineAnnealingLR(o, 9, last_epoch=4),
            "lambda": lambda lr, o: lr.LambdaLR(o, lambda epoch: 0.9**epoch, last_epoch=4),
        }[name]
        found.append(rates(lib, optimizer, make(lib.optim.lr_scheduler, optimizer), 12))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-13)


@pytest.mark.parametrize(
    "options",
    [
        {"patience": 1},
        {"mode": "max", "patience": 2, "factor": 0.5, "cooldown": 2},
        {"threshold_mode": "abs", "threshold": 0.3, "patience": 0, "min_lr": 0.01},
        {"mode": "max", "threshold_mode": "abs", "threshold": 0.2, "patience": 1, "min_lr": [0.1, 0.001]},
        {"mode": "max", "threshold": 0.1, "patience": 1, "eps": 0.04},
    ],
)
def test_plateau(options):
    measured = np.random.default_rng(4).normal(size=40).cumsum() / 4
    found = []
    for lib in (torch, minidl):
        optimizer = two_groups(lib)
        schedule = lib.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **options)
        rows = []
        for value in measured:
            schedule.step(lib.tensor(value))
            rows.append(([group["lr"] for group in optimizer.param_groups], schedule.num_bad_epochs, schedule.cooldown_counter))
            assert rows[-1][0] == schedule.get_last_lr()
        found.append(rows)
    assert found[1] == found[0]

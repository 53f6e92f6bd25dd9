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
    "multiplicative": lambda lr, o: lr.MultiplicativeLR(o, [lambda epoch: 1 - 0.1 / epoch, lambda epoch: 0.97]),
    "polynomial": lambda lr, o: lr.PolynomialLR(o),
    "polynomial_power": lambda lr, o: lr.PolynomialLR(o, 50, 2.5),
    "restarts": lambda lr, o: lr.CosineAnnealingWarmRestarts(o, 7),
    "restarts_longer": lambda lr, o: lr.CosineAnnealingWarmRestarts(o, 3, T_mult=2, eta_min=0.004),
    "one_cycle": lambda lr, o: lr.OneCycleLR(o, 0.5, 80),
    "one_cycle_epochs": lambda lr, o: lr.OneCycleLR(
        o, [0.3, 0.1], epochs=7, steps_per_epoch=10, pct_start=0.42, div_factor=7.0, final_div_factor=30.0
    ),
    "one_cycle_linear": lambda lr, o: lr.OneCycleLR(o, 0.5, 75, anneal_strategy="linear", base_momentum=[0.5, 0.6]),
    "one_cycle_three": lambda lr, o: lr.OneCycleLR(o, 0.5, 90, three_phase=True, max_momentum=0.99),
    "one_cycle_three_long": lambda lr, o: lr.OneCycleLR(o, 0.5, 75, pct_start=0.6, three_phase=True, anneal_strategy="linear"),
    "one_cycle_rate_alone": lambda lr, o: lr.OneCycleLR(o, 0.5, 90, cycle_momentum=False),
    "cyclic": lambda lr, o: lr.CyclicLR(o, 0.01, [0.1, 0.3], 8),
    "cyclic_uneven": lambda lr, o: lr.CyclicLR(o, [0.01, 0.02], 0.3, 5, 11, base_momentum=[0.1, 0.2], max_momentum=0.7),
    "cyclic_half": lambda lr, o: lr.CyclicLR(o, 0.01, 0.3, 7, mode="triangular2"),
    "cyclic_exponential": lambda lr, o: lr.CyclicLR(o, 0.01, 0.3, 7, mode="exp_range", gamma=0.98, cycle_momentum=False),
    "cyclic_by_cycle": lambda lr, o: lr.CyclicLR(o, 0.01, 0.3, 7, scale_fn=lambda x: 1 / (5 ** (x * 0.01))),
    "cyclic_by_step": lambda lr, o: lr.CyclicLR(
        o, 0.01, 0.3, 7, 4, mode="none", scale_fn=lambda x: 0.5 / (1 + x), scale_mode="iterations"
    ),
    "constant_0": lambda lr, o: lr.ConstantLR(o, 0.5, 0),
    "chained": lambda lr, o: lr.ChainedScheduler(
        [lr.ConstantLR(o, 0.1, 20), lr.ExponentialLR(o, 0.97), lr.CosineAnnealingLR(o, 60, eta_min=1e-4)]
    ),
    "chained_chains": lambda lr, o: lr.ChainedScheduler(
        [lr.ChainedScheduler([lr.StepLR(o, 9, 0.7)]), lr.SequentialLR(o, [lr.LinearLR(o), lr.ExponentialLR(o, 0.99)], [8])], o
    ),
    "sequential_others": lambda lr, o: lr.SequentialLR(
        o,
        [
            lr.PolynomialLR(o, 20), lr.MultiplicativeLR(o, lambda epoch: 0.9 + 0.01 * epoch), lr.PolynomialLR(o, 7, 0.5),
            lr.CosineAnnealingWarmRestarts(o, 4, 2), lr.CyclicLR(o, 0.001, 0.2, 3), lr.OneCycleLR(o, 0.3, 50),
        ],
        [5, 11, 15, 28, 41],
    ),
    "sequential_restarts": lambda lr, o: lr.SequentialLR(
        o, [lr.CosineAnnealingWarmRestarts(o, 4), lr.MultiStepLR(o, [0, 3])], [10]
    ),
    "sequential_skips": lambda lr, o: lr.SequentialLR(
        o, [lr.StepLR(o, 2), lr.LambdaLR(o, lambda epoch: 1 / (1 + epoch)), lr.StepLR(o, 5)], [0, 7]
    ),
    "swa": lambda lr, o: swa(lr).SWALR(o, 0.03),
    "swa_linear": lambda lr, o: swa(lr).SWALR(o, [0.03, 0.2], 17, "linear"),
    "swa_at_once": lambda lr, o: swa(lr).SWALR(o, 0.03, 0),
    "sequential_swa": lambda lr, o: lr.SequentialLR(o, [lr.ExponentialLR(o, 0.95), swa(lr).SWALR(o, 0.5, 8)], [20]),
    "sequential": lambda lr, o: lr.SequentialLR(
        o, [lr.LinearLR(o, 0.1, 1.0, 4), lr.CosineAnnealingLR(o, 8), lr.ExponentialLR(o, 0.5)], [4, 12]
    ),
    "sequential_rest": lambda lr, o: lr.SequentialLR(
        o,
        [lr.ConstantLR(o, 0.1, 3), lr.MultiStepLR(o, [2]), lr.LambdaLR(o, lambda epoch: 1 + epoch), lr.StepLR(o, 2)],
        [3, 8, 11],
    ),
}  # fmt: skip


def swa(lr):
    return (torch if lr is torch.optim.lr_scheduler else minidl).optim.swa_utils


def two_groups(lib, kind="SGD"):
    params = [lib.nn.Parameter(lib.zeros(1)) for _ in range(2)]
    return getattr(lib.optim, kind)([{"params": params[:1]}, {"params": params[1:], "lr": 0.05}], lr=0.2)


def rates(lib, optimizer, schedule, epochs):
    found = []
    for _ in range(epochs):
        found.append(
            [(group["lr"], group["momentum"] if "momentum" in group else group["betas"]) for group in groups(optimizer)]
        )
        assert [lr for lr, _ in found[-1]] == schedule.get_last_lr()
        optimizer.step()
        schedule.step()
    return found


def groups(optimizer):
    return optimizer.param_groups


@pytest.mark.parametrize("kind", ["SGD", "AdamW"])
@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.filterwarnings("error")
def test_schedule(name, kind):
    """To the last bit."""
    found = []
    for lib in (torch, minidl):
        optimizer = two_groups(lib, kind)
        schedule = SCHEDULES[name](lib.optim.lr_scheduler, optimizer)
        found.append((rates(lib, optimizer, schedule, 70), [options(group) for group in optimizer.param_groups]))
    assert found[1] == found[0]


def options(group):
    return {name: value for name, value in group.items() if name != "params"}


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("at", [1, 9, 33])
def test_resumed_schedule(name, at):
    def make():
        optimizer = two_groups(minidl)
        return optimizer, SCHEDULES[name](minidl.optim.lr_scheduler, optimizer)

    optimizer, schedule = make()
    unbroken = rates(minidl, optimizer, schedule, 70)
    optimizer, schedule = make()
    begun = rates(minidl, optimizer, schedule, at)
    saved = pickle.loads(pickle.dumps((optimizer.state_dict(), schedule.state_dict())))
    optimizer, schedule = make()
    optimizer.load_state_dict(saved[0])
    schedule.load_state_dict(saved[1])
    assert begun + rates(minidl, optimizer, schedule, 70 - at) == unbroken


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize(("one", "other"), [(torch, minidl), (minidl, torch)], ids=["from_torch", "to_torch"])
def test_state_goes_on_in_either_library(name, one, other):
    optimizer = two_groups(one)
    schedule = SCHEDULES[name](one.optim.lr_scheduler, optimizer)
    rates(one, optimizer, schedule, 13)
    second = two_groups(other)
    further = SCHEDULES[name](other.optim.lr_scheduler, second)
    second.load_state_dict(optimizer.state_dict())
    further.load_state_dict(schedule.state_dict())
    assert rates(other, second, further, 50) == rates(one, optimizer, schedule, 50)


def test_restarts_at_any_epoch():
    for options in ({"T_0": 5}, {"T_0": 3, "T_mult": 2, "eta_min": 0.01}, {"T_0": 2, "T_mult": 3}):
        found = []
        for lib in (torch, minidl):
            optimizer = two_groups(lib)
            schedule = lib.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, **options)
            rows = []
            for epoch in [*(i / 7 for i in range(200)), None, None, 3, 0, None, None, 12.75, None, 2.5, *[None] * 20]:
                schedule.step(epoch)
                rows.append((schedule.get_last_lr(), schedule.last_epoch, schedule.T_cur, schedule.T_i))
            found.append(rows)
        assert found[1] == found[0]


def test_one_cycle_ends():
    for lib in (torch, minidl):
        optimizer = two_groups(lib)
        schedule = lib.optim.lr_scheduler.OneCycleLR(optimizer, 0.5, 5)
        rates(lib, optimizer, schedule, 5)
        with pytest.raises(ValueError):
            schedule.step()


def test_plateau_with_a_new_group():
    found = []
    for lib in (torch, minidl):
        optimizer = two_groups(lib)
        schedule = lib.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, min_lr=0.01)
        optimizer.add_param_group({"params": [lib.nn.Parameter(lib.zeros(1))]})
        for value in (1.0, 2.0, 3.0):
            schedule.step(value)
        found.append((schedule.get_last_lr(), schedule.in_cooldown))
    assert found[1] == found[0]
    optimizer = two_groups(minidl)
    schedule = minidl.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, min_lr=[0.01, 0.02])
    optimizer.add_param_group({"params": [minidl.nn.Parameter(minidl.zeros(1))]})
    schedule.step(1.0)
    with pytest.raises(ValueError, match="min_lr"):
        schedule.step(2.0)


def test_plateau_goes_on():
    measured = np.random.default_rng(5).normal(size=60).cumsum() / 4
    for one, other in ((minidl, minidl), (torch, minidl), (minidl, torch)):
        make = lambda lib: (lambda o: (o, lib.optim.lr_scheduler.ReduceLROnPlateau(o, patience=1, cooldown=2, factor=0.7)))(  # noqa: E731
            two_groups(lib)
        )
        optimizer, schedule = make(one)
        second, further = make(other)
        for value in measured[:23]:
            schedule.step(value)
        second.load_state_dict(optimizer.state_dict())
        further.load_state_dict(schedule.state_dict())
        for value in measured[23:]:
            schedule.step(value)
            further.step(value)
            assert schedule.get_last_lr() == further.get_last_lr()


LATER = {
    "step": lambda lr, o: lr.StepLR(o, 3, 0.5, last_epoch=4),
    "multi_step": lambda lr, o: lr.MultiStepLR(o, [5, 8], last_epoch=4),
    "exponential": lambda lr, o: lr.ExponentialLR(o, 0.9, last_epoch=4),
    "linear": lambda lr, o: lr.LinearLR(o, 0.1, 1.0, 8, last_epoch=4),
    "constant": lambda lr, o: lr.ConstantLR(o, 0.1, 7, last_epoch=4),
    "cosine": lambda lr, o: lr.CosineAnnealingLR(o, 9, last_epoch=4),
    "lambda": lambda lr, o: lr.LambdaLR(o, lambda epoch: 0.9**epoch, last_epoch=4),
    "multiplicative": lambda lr, o: lr.MultiplicativeLR(o, lambda epoch: 0.9, last_epoch=4),
    "polynomial": lambda lr, o: lr.PolynomialLR(o, 8, 2.0, last_epoch=4),
    "restarts": lambda lr, o: lr.CosineAnnealingWarmRestarts(o, 3, 2, last_epoch=4),
    "one_cycle": lambda lr, o: lr.OneCycleLR(o, 0.5, 30, last_epoch=4),
    "cyclic": lambda lr, o: lr.CyclicLR(o, 0.01, 0.3, 3, last_epoch=4),
    "swa": lambda lr, o: swa(lr).SWALR(o, 0.03, last_epoch=4),
}


@pytest.mark.parametrize("name", LATER)
def test_schedule_from_a_later_epoch(name):
    found = []
    for lib in (torch, minidl):
        optimizer = two_groups(lib)
        for group in optimizer.param_groups:
            group |= {"lr": 0.1, "initial_lr": 0.3, "max_lr": 0.5, "min_lr": 0.01, "max_momentum": 0.9, "base_momentum": 0.7}
        found.append(rates(lib, optimizer, LATER[name](lib.optim.lr_scheduler, optimizer), 12))
    assert found[1] == found[0]


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

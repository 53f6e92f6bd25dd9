"""Schedules: the rates in closed form, what is saved, and what is refused."""

import math
from itertools import permutations

import pytest

import minidl
from minidl import nn, optim
from minidl.optim import lr_scheduler, swa_utils


def param(*shape):
    return nn.Parameter(minidl.zeros(*shape))


@pytest.mark.parametrize(
    ("make", "formula"),
    [
        (lambda o: lr_scheduler.StepLR(o, 4, 0.5), lambda t: 0.5 ** (t // 4)),
        (lambda o: lr_scheduler.MultiStepLR(o, [3, 7]), lambda t: 0.1 ** ((t >= 3) + (t >= 7))),
        (lambda o: lr_scheduler.ExponentialLR(o, 0.8), lambda t: 0.8**t),
        (lambda o: lr_scheduler.LinearLR(o, 0.25, 0.75, 8), lambda t: 0.25 + 0.5 * min(t, 8) / 8),
        (lambda o: lr_scheduler.ConstantLR(o, 0.25, 3), lambda t: 0.25 if t < 3 else 1),
        (lambda o: lr_scheduler.CosineAnnealingLR(o, 6), lambda t: (1 + math.cos(math.pi * t / 6)) / 2),
        (lambda o: lr_scheduler.LambdaLR(o, lambda t: 1 / (1 + t)), lambda t: 1 / (1 + t)),
    ],
)
def test_rates(make, formula):
    optimizer = optim.SGD([param(1)], lr=0.2)
    schedule = make(optimizer)
    for t in range(20):
        assert schedule.get_last_lr() == [optimizer.param_groups[0]["lr"]] and schedule.last_epoch == t
        assert schedule.get_last_lr()[0] == pytest.approx(0.2 * formula(t), rel=1e-9, abs=1e-15)
        optimizer.step()
        schedule.step()


def test_step_before_the_optimiser_is_warned_of():
    optimizer = optim.SGD([param(1)], lr=0.2)
    schedule = lr_scheduler.StepLR(optimizer, 1)
    with pytest.warns(UserWarning, match="before optimizer.step"):
        schedule.step()


def test_the_state_of_another_kind_of_schedule_is_refused():
    optimizer, groups = optim.SGD([param(1)], lr=1.0), optim.SGD([{"params": [param(1)]}, {"params": [param(1)]}], lr=1.0)
    step, decay = lr_scheduler.StepLR(optimizer, 3), lr_scheduler.ExponentialLR(optimizer, 0.5)
    both = lr_scheduler.ChainedScheduler([step, decay])
    turned = lr_scheduler.ChainedScheduler([decay, step])
    for one, other in permutations([step, decay, both, lr_scheduler.ReduceLROnPlateau(optimizer)], 2):
        before = repr(one.state_dict())
        with pytest.raises(ValueError, match=f"{type(one).__name__}.load_state_dict: the state is of another kind of schedule"):
            one.load_state_dict(other.state_dict())
        assert repr(one.state_dict()) == before
    with pytest.raises(ValueError, match=r"StepLR.load_state_dict: .* lacks \['step_size'\]"):
        both.load_state_dict(turned.state_dict())
    with pytest.raises(ValueError, match=r"_schedulers of the state is of 1, here of 2"):
        both.load_state_dict(lr_scheduler.ChainedScheduler([step]).state_dict())
    with pytest.raises(ValueError, match=r"_last_lr of the state is of 2, here of 1"):
        step.load_state_dict(lr_scheduler.StepLR(groups, 3).state_dict())
    with pytest.raises(TypeError, match=r"StepLR.load_state_dict: wants what StepLR.state_dict\(\) returned, got int"):
        step.load_state_dict(5)


def test_milestones_may_come_as_a_plain_dict():
    """As PyTorch takes them: from a file of another kind."""
    optimizer = optim.SGD([param(1)], lr=1.0)
    schedule = lr_scheduler.MultiStepLR(optimizer, [9])
    schedule.load_state_dict({**lr_scheduler.MultiStepLR(optimizer, [2, 2], 0.5).state_dict(), "milestones": {2: 2}})
    rates = []
    for _ in range(3):
        optimizer.step()
        schedule.step()
        rates += schedule.get_last_lr()
    assert rates == [1.0, 0.25, 0.25]


def test_lambda_object_is_saved():
    class Decay:
        def __init__(self, rate):
            self.rate = rate

        def __call__(self, epoch):
            return self.rate**epoch

    optimizer = optim.SGD([param(1)], lr=1.0)
    saved = lr_scheduler.LambdaLR(optimizer, Decay(0.5)).state_dict()
    schedule = lr_scheduler.LambdaLR(optimizer, Decay(0.9))
    schedule.load_state_dict(saved)
    optimizer.step()
    schedule.step()
    assert schedule.get_last_lr() == [0.5]


def step_lr(optimizer):
    return lr_scheduler.StepLR(optimizer, 1)


def plateau(optimizer):
    return lr_scheduler.ReduceLROnPlateau(optimizer)


def chained(optimizer):
    return lr_scheduler.ChainedScheduler([step_lr(optimizer)])


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda p: lr_scheduler.StepLR(p, 1), TypeError, "optimizer must be an Optimizer"),
        (lambda p: lr_scheduler.StepLR(optim.SGD([p]), 1, last_epoch=3), KeyError, "initial_lr"),
        (lambda p: lr_scheduler.LambdaLR(optim.SGD([p]), [abs, abs]), ValueError, "1 groups, got 2"),
        (lambda p: lr_scheduler.ConstantLR(optim.SGD([p]), 2.0), ValueError, "factor"),
        (lambda p: lr_scheduler.LinearLR(optim.SGD([p]), 0.0), ValueError, "start_factor"),
        (lambda p: lr_scheduler.ReduceLROnPlateau(optim.SGD([p]), "least"), ValueError, "'least'"),
        (lambda p: lr_scheduler.ReduceLROnPlateau(optim.SGD([p]), threshold_mode="x"), ValueError, "threshold_mode"),
        (lambda p: lr_scheduler.ReduceLROnPlateau(optim.SGD([p]), factor=1.0), ValueError, "factor"),
        (lambda p: lr_scheduler.ReduceLROnPlateau(optim.SGD([p]), min_lr=[0, 0]), ValueError, "min_lr"),
        (lambda p: lr_scheduler.SequentialLR(optim.SGD([p]), [], []), ValueError, "at least one"),
        (lambda p: lr_scheduler.SequentialLR(optim.SGD([p]), [step_lr(optim.SGD([p]))], []), ValueError, "same optimizer"),
        (lambda p: lr_scheduler.SequentialLR(o := optim.SGD([p]), [step_lr(o)], [1]), ValueError, "got 1 and 1"),
        (lambda p: lr_scheduler.SequentialLR(o := optim.SGD([p]), [plateau(o)], []), ValueError, "a Reduce"),
        (lambda p: lr_scheduler.SequentialLR(o := optim.SGD([p]), [chained(o)], []), ValueError, "a ChainedScheduler"),
        (lambda p: lr_scheduler.ChainedScheduler([plateau(optim.SGD([p]))]), ValueError, "a Reduce"),
        (lambda p: lr_scheduler.ChainedScheduler([]), ValueError, "at least one"),
        (lambda p: lr_scheduler.ChainedScheduler([abs]), TypeError, "builtin_function"),
        (lambda p: lr_scheduler.ChainedScheduler([*map(step_lr, (optim.SGD([p]), optim.SGD([p])))]), ValueError, "the same"),
        (lambda p: lr_scheduler.ChainedScheduler([step_lr(optim.SGD([p]))], optim.SGD([p])), ValueError, "same optimizer"),
        (lambda p: lr_scheduler.MultiplicativeLR(optim.SGD([p]), 0.5), TypeError, "float"),
        (lambda p: lr_scheduler.CosineAnnealingWarmRestarts(optim.SGD([p]), 0), ValueError, "T_0"),
        (lambda p: lr_scheduler.CosineAnnealingWarmRestarts(optim.SGD([p]), 3, 1.5), ValueError, "T_mult"),
        (lambda p: lr_scheduler.CosineAnnealingWarmRestarts(optim.SGD([p]), 3, eta_min="0"), ValueError, "eta_min"),
        (lambda p: lr_scheduler.CosineAnnealingWarmRestarts(optim.SGD([p]), 3).step(-1), ValueError, "not be negative"),
        (lambda p: lr_scheduler.OneCycleLR(optim.SGD([p]), 0.1), ValueError, "total_steps, or both"),
        (lambda p: lr_scheduler.OneCycleLR(optim.SGD([p]), 0.1, epochs=3), ValueError, "total_steps, or both"),
        (lambda p: lr_scheduler.OneCycleLR(optim.SGD([p]), 0.1, 0), ValueError, "total_steps must be a positive"),
        (lambda p: lr_scheduler.OneCycleLR(optim.SGD([p]), 0.1, epochs=3, steps_per_epoch=2.0), ValueError, "steps_per_epoch"),
        (lambda p: lr_scheduler.OneCycleLR(optim.SGD([p]), 0.1, 10, pct_start=2.0), ValueError, "pct_start"),
        (lambda p: lr_scheduler.OneCycleLR(optim.SGD([p]), 0.1, 10, anneal_strategy="sin"), ValueError, "'sin'"),
        (lambda p: lr_scheduler.OneCycleLR(optim.SGD([p]), [0.1, 0.2], 10), ValueError, "one max_lr for each of the 1"),
        (lambda p: lr_scheduler.OneCycleLR(optim.Adagrad([p]), 0.1, 10), ValueError, "Adagrad has not"),
        (lambda p: lr_scheduler.CyclicLR(optim.Adagrad([p]), 0.1, 0.2), ValueError, "cycle_momentum=False"),
        (lambda p: lr_scheduler.CyclicLR(optim.SGD([p]), 0.1, 0.2, mode="square"), ValueError, "'square'"),
        (lambda p: lr_scheduler.CyclicLR(optim.SGD([p]), 0.1, 0.2, scale_mode="epoch"), ValueError, "'epoch'"),
        (lambda p: lr_scheduler.CyclicLR(optim.SGD([p]), 0.1, 0.2, base_momentum=[0.1, 0.2]), ValueError, "base_momentum"),
        (lambda p: swa_utils.SWALR(optim.SGD([p]), 0.1, anneal_strategy="sin"), ValueError, "'sin'"),
        (lambda p: swa_utils.SWALR(optim.SGD([p]), 0.1, -1), ValueError, "anneal_epochs"),
        (lambda p: swa_utils.SWALR(optim.SGD([p]), [0.1, 0.2]), ValueError, "swa_lr"),
        (lambda p: lr_scheduler.ReduceLROnPlateau(p), TypeError, "optimizer must be an Optimizer"),
    ],
)  # fmt: skip
def test_what_is_refused(call, error, said):
    with pytest.raises(error, match=said):
        call(param(2))


def test_what_is_refused_changes_nothing():
    optimizer = optim.Adagrad([param(1)])
    before = dict(optimizer.param_groups[0])
    for call in (lr_scheduler.OneCycleLR, lr_scheduler.CyclicLR):
        with pytest.raises(ValueError):
            call(optimizer, 0.1, 10)
        assert optimizer.param_groups[0] == before

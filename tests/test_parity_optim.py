"""Optimisers and schedules against PyTorch's: the same gradients give the same parameters, states and rates."""

import copy
import pickle

import numpy as np
import pytest

import minidl

torch = pytest.importorskip("torch")

SHAPES = [(3, 2), (4,), ()]
OPTIMIZERS = {
    "sgd": ("SGD", {"lr": 0.1}),
    "sgd_default": ("SGD", {}),
    "sgd_momentum": ("SGD", {"lr": 0.1, "momentum": 0.9}),
    "sgd_dampening": ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3}),
    "sgd_nesterov": ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    "sgd_decay": ("SGD", {"lr": 0.1, "momentum": 0.5, "weight_decay": 0.1}),
    "sgd_decay_only": ("SGD", {"lr": 0.1, "weight_decay": 0.1}),
    "sgd_maximize": ("SGD", {"lr": 0.1, "momentum": 0.5, "weight_decay": 0.1, "maximize": True}),
    "adam": ("Adam", {}),
    "adam_options": ("Adam", {"lr": 0.05, "betas": (0.8, 0.9), "eps": 1e-3}),
    "adam_decay": ("Adam", {"lr": 0.05, "weight_decay": 0.1}),
    "adam_amsgrad": ("Adam", {"lr": 0.05, "betas": (0.5, 0.6), "amsgrad": True}),
    "adam_maximize": ("Adam", {"lr": 0.05, "weight_decay": 0.1, "maximize": True}),
    "adam_decoupled": ("Adam", {"lr": 0.05, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    "adamw": ("AdamW", {"lr": 0.05}),
    "adamw_all": ("AdamW", {"lr": 0.05, "weight_decay": 0.3, "amsgrad": True, "maximize": True}),
}


def start(lib, dtype):
    rng = np.random.default_rng(1)
    return [lib.nn.Parameter(lib.tensor(rng.normal(size=s).astype(dtype))) for s in SHAPES]


def walk(lib, optimizer, params, dtype, seed, steps):
    """Take steps with gradients that depend on where the parameters are; the parameters after each."""
    rng, path = np.random.default_rng(seed), []
    for _ in range(steps):
        for i, p in enumerate(params):
            g = rng.normal(size=tuple(p.shape)).astype(dtype)
            absent = i == 1 and rng.random() < 0.3
            p.grad = None if absent else lib.tensor(g) * p.detach()
        optimizer.step()
        path.append([p.detach().numpy().copy() for p in params])
    return path


def assert_paths(ours, theirs, rtol):
    for step, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        for x, y in zip(a, b, strict=True):
            assert x.dtype == y.dtype
            np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol, err_msg=f"step {step}")


def assert_states(ours, theirs):
    assert ours["param_groups"] == theirs["param_groups"]
    assert ours["state"].keys() == theirs["state"].keys()
    for i, kept in theirs["state"].items():
        assert ours["state"][i].keys() == kept.keys()
        for name, value in kept.items():
            assert str(ours["state"][i][name].dtype).split(".")[1] == str(value.dtype).split(".")[1]
            np.testing.assert_allclose(ours["state"][i][name].numpy(), value.numpy(), rtol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_twenty_steps(name, dtype):
    kind, options = OPTIMIZERS[name]
    paths, optimizers = [], []
    for lib in (minidl, torch):
        params = start(lib, dtype)
        groups = [{"params": params[:2]}, {"params": params[2:], "lr": 0.02}]
        optimizers.append(getattr(lib.optim, kind)(groups, **options))
        paths.append(walk(lib, optimizers[-1], params, dtype, 2, 20))
    assert_paths(*paths, rtol=1e-11 if dtype == "float64" else 2e-5)
    assert repr(optimizers[0]) == repr(optimizers[1])
    if dtype == "float64":
        assert_states(*(optimizer.state_dict() for optimizer in optimizers))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_goes_on_in_either_library(name):
    kind, options = OPTIMIZERS[name]
    ours, theirs = start(minidl, "float64"), start(torch, "float64")
    first = getattr(torch.optim, kind)(theirs, **options)
    walk(torch, first, theirs, "float64", 2, 5)

    def as_minidl(state):
        kept = {i: {k: minidl.tensor(v.numpy()) for k, v in s.items()} for i, s in state["state"].items()}
        return {"state": kept, "param_groups": copy.deepcopy(state["param_groups"])}

    second = getattr(minidl.optim, kind)(ours, **options)
    second.load_state_dict(as_minidl(first.state_dict()))
    for p, q in zip(ours, theirs):
        p.data = minidl.tensor(q.detach().numpy())
    assert_paths(walk(minidl, second, ours, "float64", 3, 5), walk(torch, first, theirs, "float64", 3, 5), 1e-11)
    back = {
        "state": {i: {k: torch.tensor(v.numpy()) for k, v in s.items()} for i, s in second.state_dict()["state"].items()},
        "param_groups": second.state_dict()["param_groups"],
    }
    third = getattr(torch.optim, kind)(theirs, **options)
    third.load_state_dict(back)
    assert_paths(walk(minidl, second, ours, "float64", 4, 5), walk(torch, third, theirs, "float64", 4, 5), 1e-11)


# -- schedules

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

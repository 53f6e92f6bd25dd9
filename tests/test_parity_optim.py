"""Optimisers against PyTorch's: the same gradients give the same parameters and states."""

import copy

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
    "adagrad": ("Adagrad", {}),
    "adagrad_decay": ("Adagrad", {"lr": 0.3, "lr_decay": 0.2, "weight_decay": 0.1, "eps": 1e-3}),
    "adagrad_start": ("Adagrad", {"lr": 0.3, "initial_accumulator_value": 0.5, "maximize": True}),
    "rmsprop": ("RMSprop", {}),
    "rmsprop_options": ("RMSprop", {"lr": 0.05, "alpha": 0.7, "eps": 1e-3, "weight_decay": 0.1, "maximize": True}),
    "rmsprop_momentum": ("RMSprop", {"lr": 0.05, "momentum": 0.6}),
    "rmsprop_centered": ("RMSprop", {"lr": 0.05, "alpha": 0.8, "centered": True, "eps": 1e-2}),
    "rmsprop_all": ("RMSprop", {"lr": 0.05, "centered": True, "eps": 0.1, "momentum": 0.6, "weight_decay": 0.1}),
    "adadelta": ("Adadelta", {}),
    "adadelta_options": ("Adadelta", {"lr": 0.5, "rho": 0.6, "eps": 1e-2, "weight_decay": 0.1, "maximize": True}),
    "adamax": ("Adamax", {}),
    "adamax_options": ("Adamax", {"lr": 0.05, "betas": (0.7, 0.8), "eps": 1e-2, "weight_decay": 0.1, "maximize": True}),
    "nadam": ("NAdam", {}),
    "nadam_options": ("NAdam", {"lr": 0.05, "betas": (0.7, 0.8), "eps": 1e-2, "weight_decay": 0.1, "momentum_decay": 0.3}),
    "nadam_decoupled": ("NAdam", {"lr": 0.05, "weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True}),
    "radam": ("RAdam", {}),
    "radam_options": ("RAdam", {"lr": 0.05, "betas": (0.7, 0.8), "eps": 1e-2, "weight_decay": 0.1, "maximize": True}),
    "radam_decoupled": ("RAdam", {"lr": 0.05, "betas": (0.9, 0.95), "weight_decay": 0.1, "decoupled_weight_decay": True}),
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
    first.load_state_dict(first.state_dict())  # which gives the states without dimensions another dtype

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

"""Averages of weights against PyTorch's."""

import numpy as np
import pytest

import minidl

torch = pytest.importorskip("torch")

OPTIONS = {
    "swa": lambda swa: {},
    "swa_buffers": lambda swa: {"use_buffers": True},
    "swa_each": lambda swa: {"avg_fn": swa.get_swa_avg_fn(), "use_buffers": True},
    "swa_multi": lambda swa: {"multi_avg_fn": swa.get_swa_multi_avg_fn()},
    "ema": lambda swa: {"multi_avg_fn": swa.get_ema_multi_avg_fn(0.9)},
    "ema_buffers": lambda swa: {"multi_avg_fn": swa.get_ema_multi_avg_fn(0.3), "use_buffers": True},
    "ema_each": lambda swa: {"avg_fn": swa.get_ema_avg_fn(), "use_buffers": True},
}


def net(lib):
    return lib.nn.Sequential(lib.nn.Linear(3, 4), lib.nn.BatchNorm1d(4), lib.nn.Linear(4, 1))


def move(lib, model, rng):
    with lib.no_grad():
        for p in model.parameters():
            p.copy_(lib.tensor(rng.normal(size=tuple(p.shape))))
        for b in model.buffers():
            b.copy_(lib.tensor(rng.uniform(0, 50, size=tuple(b.shape))))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", OPTIONS)
def test_averaged_model(name, dtype):
    found = []
    for lib in (torch, minidl):
        rng, model = np.random.default_rng(0), net(lib).to(getattr(lib, dtype))
        averaged = lib.optim.swa_utils.AveragedModel(model, **OPTIONS[name](lib.optim.swa_utils))
        path = []
        for _ in range(6):
            move(lib, model, rng)
            averaged.update_parameters(model)
            path.append({key: value.numpy().copy() for key, value in averaged.state_dict().items()})
        found.append(path)
    for ours, theirs in zip(found[1], found[0]):
        assert [*ours] == [*theirs]
        for key, value in theirs.items():
            assert ours[key].dtype == value.dtype and ours[key].shape == value.shape
            np.testing.assert_allclose(
                ours[key], value, rtol=1e-12 if dtype == "float64" else 2e-5, atol=1e-6 if dtype == "float32" else 1e-14
            )


def test_update_bn():
    batches, found = np.random.default_rng(1).normal(size=(3, 5, 3)), []
    for lib in (torch, minidl):
        model = net(lib).double()
        move(lib, model, np.random.default_rng(0))
        lib.optim.swa_utils.update_bn([lib.tensor(b) for b in batches], model)
        found.append({key: value.numpy() for key, value in model.state_dict().items()})
    for key, value in found[0].items():
        np.testing.assert_allclose(found[1][key], value, rtol=1e-12)


def test_repr():
    ours, theirs = (repr(lib.optim.swa_utils.AveragedModel(net(lib))) for lib in (minidl, torch))
    assert ours == theirs

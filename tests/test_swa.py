"""Averages of weights: by hand, in a compiled step, saved and loaded."""

import warnings

import numpy as np
import pytest

import minidl
from minidl import nn, optim
from minidl.optim import swa_utils

RNG = np.random.default_rng(0)


def net():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)).double()


def numbers(module):
    return {name: t.detach().numpy().copy() for name, t in module.state_dict().items()}


def move(model):
    """Any other weights and running statistics."""
    with minidl.no_grad():
        for t in model.parameters():
            t.copy_(minidl.tensor(RNG.normal(size=tuple(t.shape))))
        model(minidl.tensor(RNG.normal(size=(5, 3))))


def walk(model, averaged, n=5):
    """The weights of the model each time that the average is told."""
    path = []
    for _ in range(n):
        move(model)
        averaged.update_parameters(model)
        path.append(numbers(model))
    return path


@pytest.mark.parametrize(
    "options", [{}, {"avg_fn": swa_utils.get_swa_avg_fn()}, {"multi_avg_fn": swa_utils.get_swa_multi_avg_fn()}]
)
def test_mean(options):
    model = net()
    averaged = swa_utils.AveragedModel(model, **options)
    path, found = walk(model, averaged), numbers(averaged.module)
    assert averaged.n_averaged.item() == 5
    for name, _ in model.named_parameters():
        np.testing.assert_allclose(found[name], np.mean([step[name] for step in path], 0), rtol=1e-6)
    for name, _ in model.named_buffers():
        np.testing.assert_array_equal(found[name], path[-1][name])


@pytest.mark.parametrize("make", [swa_utils.get_ema_avg_fn, swa_utils.get_ema_multi_avg_fn])
def test_recent_ones_count_most(make):
    model = net()
    kind = "multi_avg_fn" if "multi" in make.__name__ else "avg_fn"
    averaged = swa_utils.AveragedModel(model, **{kind: make(0.75)}, use_buffers=True)
    path, found = walk(model, averaged), numbers(averaged.module)
    wanted = path[0]
    for step in path[1:]:
        for name, old in wanted.items():
            mixed = 0.75 * old + 0.25 * step[name]
            wanted[name] = np.trunc(mixed) if "num_batches" in name else mixed
    for name in found:
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-12)


def test_it_is_a_copy():
    model = net()
    averaged = swa_utils.AveragedModel(model)
    assert [*averaged.state_dict()] == ["n_averaged", *(f"module.{name}" for name in model.state_dict())]
    before = numbers(averaged)
    move(model)
    x = minidl.tensor(RNG.normal(size=(4, 3)))
    for name, value in numbers(averaged).items():
        np.testing.assert_array_equal(value, before[name])
    averaged.update_parameters(model)
    averaged.eval()
    model.eval()
    np.testing.assert_array_equal(averaged(x).detach().numpy(), model(x).detach().numpy())
    assert all(p.is_leaf and p.requires_grad and not np.shares_memory(p.detach().numpy(), q.detach().numpy())
               for p, q in zip(averaged.parameters(), model.parameters()))  # fmt: skip


def test_functions_of_ones_own():
    model = net()
    model[0].float()
    model[2].weight.requires_grad_(False)
    seen = []

    def several(averaged, current, n):
        seen.append(([(str(a.dtype), str(c.dtype)) for a, c in zip(averaged, current)], n.item()))
        for a, c in zip(averaged, current):
            a.copy_(minidl.maximum(a, c))

    each = swa_utils.AveragedModel(model, avg_fn=lambda a, c, n: minidl.maximum(a, c))
    together = swa_utils.AveragedModel(model, multi_avg_fn=several, use_buffers=True)
    for i in range(3):
        with minidl.no_grad():
            for p in model.parameters():
                p.add_((-1) ** i)
        each.update_parameters(model)
        together.update_parameters(model)
    assert [(set(kinds), n) for kinds, n in seen] == [
        ({(f"minidl.{d}",) * 2}, n) for n in (1, 2) for d in ("float32", "float64", "int64")
    ]
    for p, q in zip(each.parameters(), together.parameters()):
        np.testing.assert_array_equal(p.detach().numpy(), q.detach().numpy())


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: swa_utils.AveragedModel(net(), avg_fn=max, multi_avg_fn=max), ValueError, "not both"),
        (lambda: swa_utils.AveragedModel(net(), "cuda"), RuntimeError, "'cuda'"),
        (lambda: swa_utils.get_ema_avg_fn(1.5), ValueError, "get_ema_avg_fn: decay .* got 1.5"),
        (lambda: swa_utils.get_ema_multi_avg_fn(-1), ValueError, "get_ema_multi_avg_fn: decay"),
    ],
)
def test_what_is_refused(call, error, said):
    with pytest.raises(error, match=said):
        call()


def test_another_model_is_refused_whole():
    averaged = swa_utils.AveragedModel(net())
    before = numbers(averaged)
    for other in (nn.Linear(3, 4), nn.Sequential(*net(), nn.BatchNorm1d(4)), net().append(nn.Linear(1, 1))):
        with pytest.raises(ValueError, match="other parameters or buffers"):
            averaged.update_parameters(other)
    for name, value in numbers(averaged).items():
        np.testing.assert_array_equal(value, before[name])


def test_a_change_is_seen_by_the_tape():
    model = net()
    averaged = swa_utils.AveragedModel(model)
    out = averaged(minidl.tensor(RNG.normal(size=(4, 3)))).sum()
    averaged.update_parameters(model)
    with pytest.raises(RuntimeError, match="changed in place"):
        out.backward()


def test_saved_and_loaded():
    model = net()
    options = {"multi_avg_fn": swa_utils.get_ema_multi_avg_fn(0.5)}
    first, second = swa_utils.AveragedModel(model, **options), swa_utils.AveragedModel(net(), **options)
    walk(model, first, 3)
    second.load_state_dict(first.state_dict())
    for _ in range(3):
        move(model)
        first.update_parameters(model)
        second.update_parameters(model)
    assert second.n_averaged.item() == 6
    for a, b in zip(first.state_dict().values(), second.state_dict().values()):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


@pytest.mark.parametrize("momentum", [0.1, None])
def test_update_bn(momentum):
    model, batches = net(), RNG.normal(size=(4, 6, 3))
    model[1].momentum = momentum
    move(model)
    model.eval()
    swa_utils.update_bn([minidl.tensor(batches[0]), *((minidl.tensor(b), "label") for b in batches[1:])], model)
    hidden = [b @ model[0].weight.detach().numpy().T + model[0].bias.detach().numpy() for b in batches]
    np.testing.assert_allclose(model[1].running_mean.numpy(), np.mean([h.mean(0) for h in hidden], 0), rtol=1e-10)
    np.testing.assert_allclose(model[1].running_var.numpy(), np.mean([h.var(0, ddof=1) for h in hidden], 0), rtol=1e-10)
    assert model[1].momentum == momentum and not model.training and not model[1].training
    assert model[1].num_batches_tracked.item() == 4
    swa_utils.update_bn(None, nn.Linear(3, 3))  # nothing to do, so nothing is asked of the loader


def test_update_bn_leaves_things_as_they_were_when_it_fails():
    model = net().eval()
    with pytest.raises(minidl.shapes.ShapeError):
        swa_utils.update_bn([minidl.zeros(4, 7, dtype=minidl.float64)], model)
    assert model[1].momentum == 0.1 and not model.training


def test_in_a_compiled_step():
    """It is one change in place, done anew at each call."""
    found = []
    for compiled in (False, True):
        minidl.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1)).double()
        averaged = swa_utils.AveragedModel(model, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(0.9))
        optimizer = optim.NAdam(model.parameters(), lr=0.05)

        def step(x, model=model, averaged=averaged, optimizer=optimizer):
            optimizer.zero_grad()
            loss = (model(x) - 1).square().mean() + 0 * averaged(x).mean()
            loss.backward()
            optimizer.step()
            averaged.update_parameters(model)
            return loss

        run = minidl.compile(step) if compiled else step
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            losses = [run(minidl.tensor(x)).item() for x in np.random.default_rng(1).normal(size=(8, 5, 3))]
        if compiled:
            assert "steps became" in minidl.compiler.explain(run)
        found.append((losses, numbers(averaged)))
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=1e-12)
    assert found[1][1]["n_averaged"] == 8
    for name, value in found[0][1].items():
        np.testing.assert_allclose(found[1][1][name], value, rtol=1e-12)

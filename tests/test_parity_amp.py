"""Losses that are scaled, beside PyTorch."""

import inspect
import math

import numpy as np
import pytest

import minidl
from minidl.amp import GradScaler

torch = pytest.importorskip("torch")


def run(library, scaler, infinite, clip):
    """Scales and weights after steps of which some have an infinite gradient."""
    w = library.ones(3, requires_grad=True)
    opt, found = library.optim.SGD([w], 0.1, momentum=0.9), []
    for i, bad in enumerate(infinite):
        opt.zero_grad()
        scaler.scale((w * library.tensor([1e-2, math.inf if bad else 1e-2 * i, -0.1])).sum()).backward()
        if clip:
            scaler.unscale_(opt)
            library.nn.utils.clip_grad_norm_([w], 1.0)
        scaler.step(opt)
        scaler.update()
        found.append([scaler.get_scale(), *w.tolist()])
    return found


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize(("scale", "share"), [(1024.0, 0.2), (64.0, 0.4), (3e37, 0.0)])  # the last grows to float32's end
def test_the_factor_and_the_steps(scale, share, clip):
    infinite = np.random.default_rng(0).random(40) < share
    options = {"init_scale": scale, "growth_factor": 3.0, "backoff_factor": 0.25, "growth_interval": 3}
    ours, theirs = GradScaler("cpu", **options), torch.amp.GradScaler("cpu", **options)
    for part in (infinite[:20], infinite[20:]):
        with np.errstate(all="ignore"):
            a, b = (run(library, scaler, part, clip) for library, scaler in ((minidl, ours), (torch, theirs)))
        np.testing.assert_allclose(a, b, rtol=1e-5)
        assert ours.state_dict() == pytest.approx(theirs.state_dict(), rel=1e-6)
        ours = GradScaler("cpu")
        ours.load_state_dict(theirs.state_dict())


def test_names_arguments_and_defaults():
    def said(function):
        return [(p.name, p.default) for p in inspect.signature(function).parameters.values()]

    assert said(GradScaler) == said(torch.amp.GradScaler) and said(minidl.autocast) == said(torch.autocast)
    for name in (name for name in vars(torch.amp.GradScaler) if name[0] != "_"):
        theirs = [parameter for parameter, _ in said(getattr(torch.amp.GradScaler, name))]
        assert [parameter for parameter, _ in said(getattr(GradScaler, name))] == theirs, name

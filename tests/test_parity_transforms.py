"""Resizing and turning against PyTorch's interpolation, on which torchvision's transforms of tensors rest."""

import math

import numpy as np
import pytest

import minidl
from minidl.vision import transforms

torch = pytest.importorskip("torch")
F = torch.nn.functional

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("size", [(5, 9), (20, 31), (1, 1), (11, 3), (13, 17)])
@pytest.mark.parametrize(
    ("mode", "antialias"), [("bilinear", True), ("bilinear", False), ("bicubic", True), ("nearest", False)]
)
def test_resize(size, mode, antialias):
    x = RNG.normal(size=(2, 3, 13, 17))
    options = {} if mode == "nearest" else {"antialias": antialias, "align_corners": False}
    resize = transforms.Resize(size, transforms.InterpolationMode(mode), antialias=antialias or mode == "nearest")
    wanted = F.interpolate(torch.tensor(x), size, mode=mode, **options).numpy()
    np.testing.assert_allclose(resize(minidl.tensor(x)).numpy(), wanted, rtol=1e-10, atol=1e-12)
    if mode == "bilinear":  # whole numbers are computed in float32 and rounded
        pixels = RNG.integers(0, 256, (2, 3, 13, 17), dtype=np.uint8)
        wanted = F.interpolate(torch.tensor(pixels).float(), size, mode=mode, **options).round().to(torch.uint8).numpy()
        found = resize(minidl.tensor(pixels)).numpy()
        assert np.abs(found.astype(int) - wanted).max() <= 1 and (found == wanted).mean() > 0.99


@pytest.mark.parametrize("angle", [0.0, 12.3, 90.0, -170.0, 45.5])
@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_rotation(angle, mode):
    x = RNG.normal(size=(1, 2, 9, 13))  # no pixel of which turns to the middle between two
    height, width = x.shape[-2:]
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    theta = torch.tensor([[cos, -sin * height / width, 0], [sin * width / height, cos, 0]], dtype=torch.float64)
    grid = F.affine_grid(theta[None], x.shape, align_corners=False)
    sample = {"mode": mode, "align_corners": False}
    wanted, inside = (
        F.grid_sample(torch.tensor(x), grid, **sample),
        F.grid_sample(torch.ones(1, 1, 9, 13).double(), grid, **sample),
    )
    # as torchvision fills in
    wanted = torch.where(inside < 0.5, 0.7, wanted) if mode == "nearest" else wanted * inside + (1 - inside) * 0.7
    turn = transforms.RandomRotation((angle, angle), transforms.InterpolationMode(mode), fill=0.7)
    np.testing.assert_allclose(turn(minidl.tensor(x[0])).numpy(), wanted[0].numpy(), rtol=1e-9, atol=1e-11)

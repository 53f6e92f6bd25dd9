"""Transforms, image sets and sheets of pictures."""

import colorsys
import hashlib
import io
import os
import pickle
import sys
import tarfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minidl
from minidl import vision
from minidl.utils.data import Columns, DataLoader, Subset, default_collate
from minidl.vision import datasets, transforms
from minidl.vision.datasets import cifar
from minidl.vision.utils import make_grid, save_image


def picture(seed=0, height=6, width=5, channels=3):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


# -- transforms, one picture at a time


def test_to_tensor_scales_bytes_and_nothing_else():
    image = picture()
    out = transforms.ToTensor()(image)
    assert out.dtype == minidl.float32 and out.shape == (3, 6, 5) and out.is_contiguous()
    np.testing.assert_array_equal(out.numpy(), image.transpose(2, 0, 1).astype(np.float32) / np.float32(255))
    assert transforms.ToTensor()(image[:, :, 0]).shape == (1, 6, 5)
    numbers = np.random.default_rng(1).normal(size=(2, 3, 1))
    out = transforms.ToTensor()(numbers)
    assert out.dtype == minidl.float64
    np.testing.assert_array_equal(out.numpy()[0], numbers[:, :, 0])
    for wrong in (minidl.zeros(3, 2, 2), [[1]]):
        with pytest.raises(TypeError, match="ToTensor"):
            transforms.ToTensor()(wrong)
    with pytest.raises(ValueError, match="height, width"):
        transforms.ToTensor()(np.zeros(3, np.uint8))


def test_normalize():
    x = minidl.randn(3, 4, 5)
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 2.0)
    wanted = (x.numpy() - np.float32(mean).reshape(3, 1, 1)) / np.float32(std).reshape(3, 1, 1)
    out = transforms.Normalize(mean, std)(x)
    np.testing.assert_array_equal(out.numpy(), wanted)
    assert out.dtype == minidl.float32 and not np.array_equal(x.numpy(), wanted)
    transforms.Normalize(mean, std, inplace=True)(x)
    np.testing.assert_array_equal(x.numpy(), wanted)
    assert transforms.Normalize(0.5, 0.5)(minidl.ones(2, 1, 1)).tolist() == [[[1]], [[1]]]


def test_normalize_passes_gradients():
    x = minidl.randn(3, 2, 2, dtype=minidl.float64, requires_grad=True)
    transforms.Normalize((0, 0, 0), (2, 4, 5))(x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy()[:, 0, 0], [1 / 2, 1 / 4, 1 / 5])


def test_normalize_refuses():
    normalize = transforms.Normalize((0.5,) * 3, (0.5,) * 3)
    with pytest.raises(TypeError, match="ToTensor"):
        normalize(picture())
    with pytest.raises(TypeError, match="uint8"):
        normalize(minidl.zeros(3, 2, 2, dtype=minidl.uint8))
    with pytest.raises(ValueError, match="mean"):
        normalize(minidl.zeros(4, 2, 2))
    with pytest.raises(ValueError, match="std must not be 0"):
        transforms.Normalize((0,), (0,))(minidl.zeros(1, 2, 2))


def both_kinds(image):
    """A picture as an array and as a tensor, and how to see each result as an array (height, width, channels)."""
    yield image, lambda out: out
    yield minidl.from_numpy(image.transpose(2, 0, 1).copy()), lambda out: out.numpy().transpose(1, 2, 0)


def test_flips():
    image = picture()
    for given_, seen in both_kinds(image):
        np.testing.assert_array_equal(seen(transforms.RandomHorizontalFlip(1)(given_)), image[:, ::-1])
        np.testing.assert_array_equal(seen(transforms.RandomVerticalFlip(1)(given_)), image[::-1])
        for flip in (transforms.RandomHorizontalFlip(0), transforms.RandomVerticalFlip(0)):
            np.testing.assert_array_equal(seen(flip(given_)), image)
    with pytest.raises(ValueError, match="p must"):
        transforms.RandomVerticalFlip(1.5)


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "symmetric"])
@pytest.mark.parametrize(
    "padding, border", [(2, ((2, 2), (2, 2))), ((1, 3), ((3, 3), (1, 1))), ((1, 2, 3, 4), ((2, 4), (1, 3)))]
)
def test_pad(mode, padding, border):
    image = picture()
    options = {"constant_values": 9} if mode == "constant" else {}
    wanted = np.pad(image, (*border, (0, 0)), mode, **options)
    for given_, seen in both_kinds(image):
        np.testing.assert_array_equal(seen(transforms.Pad(padding, 9, mode)(given_)), wanted)


def test_pad_with_a_colour():
    image = picture()
    out = transforms.Pad((0, 1, 0, 0), fill=(1, 2, 3))(image)
    assert out.dtype == np.uint8 and out[0].tolist() == [[1, 2, 3]] * 5
    np.testing.assert_array_equal(out[1:], image)
    for given_ in (picture(channels=1), minidl.zeros(3, 2, 2)):
        with pytest.raises(ValueError, match="each channel"):
            transforms.Pad(1, fill=(1, 2, 3))(given_)


@pytest.mark.parametrize("make", [transforms.Pad, lambda *args, **options: transforms.RandomCrop(3, *args, **options)])
def test_pad_and_crop_refuse(make):
    for padding in ((1, 2, 3), -1):
        with pytest.raises(ValueError, match="padding"):
            make(padding)
    with pytest.raises(ValueError, match="padding_mode"):
        make(1, padding_mode="circular")
    with pytest.raises(TypeError, match="fill"):
        make(1, fill="black")


def test_center_crop():
    image = picture(height=7, width=9)
    for given_, seen in both_kinds(image):
        np.testing.assert_array_equal(seen(transforms.CenterCrop((3, 5))(given_)), image[2:5, 2:7])
        larger = seen(transforms.CenterCrop((8, 12))(given_))
        np.testing.assert_array_equal(larger, np.pad(image, ((0, 1), (1, 2), (0, 0))))


def windows(image, height, width):
    return {
        image[i : i + height, j : j + width].tobytes()
        for i in range(image.shape[0] - height + 1)
        for j in range(image.shape[1] - width + 1)
    }


def test_random_crop_takes_every_window():
    image = picture(height=4, width=5)
    for given_, seen in both_kinds(image):
        crop = transforms.RandomCrop((3, 4))
        assert {np.ascontiguousarray(seen(crop(given_))).tobytes() for _ in range(100)} == windows(image, 3, 4)
        padded = np.pad(image, ((1, 1), (1, 1), (0, 0)), constant_values=7)
        crop = transforms.RandomCrop((4, 5), padding=1, fill=7)
        assert {np.ascontiguousarray(seen(crop(given_))).tobytes() for _ in range(200)} == windows(padded, 4, 5)
        with pytest.raises(ValueError, match="larger"):
            transforms.RandomCrop(6)(given_)
        needed = seen(transforms.RandomCrop(6, pad_if_needed=True)(given_))
        assert np.ascontiguousarray(needed).tobytes() in windows(np.pad(image, ((2, 2), (1, 1), (0, 0))), 6, 6)


def test_lambda_and_compose():
    assert transforms.Compose([transforms.Lambda(lambda x: x + 1), lambda x: x * 2])(3) == 8
    for make in (lambda: transforms.Lambda(3), lambda: transforms.Compose([3])):
        with pytest.raises(TypeError):
            make()
    text = repr(transforms.Compose([transforms.ToTensor(), transforms.RandomCrop(4)]))
    assert "ToTensor()" in text and "RandomCrop(size=(4, 4)" in text


def test_pillow_images_are_taken():
    Image = pytest.importorskip("PIL.Image")
    image = picture()
    out = transforms.ToTensor()(Image.fromarray(image))
    np.testing.assert_array_equal(out.numpy(), transforms.ToTensor()(image).numpy())
    assert transforms.ToTensor()(Image.fromarray(image).convert("L")).shape == (1, 6, 5)
    with pytest.raises(TypeError, match=r'convert\("RGB"'):
        transforms.ToTensor()(Image.fromarray(image).convert("1"))


# -- transforms that compute new pixels, against loops over single pixels


def resized_row(row, new, kernel, reach, antialias):
    """The values of a row in another length: weighted means of the old pixels around the centre of each new one."""
    scale, result = len(row) / new, []
    wide = max(scale, 1) if antialias else 1
    for i in range(new):
        centre, total, weights = (i + 0.5) * scale, 0.0, 0.0
        for j, value in enumerate(row):
            distance = (j + 0.5 - centre) / wide
            if abs(distance) < reach:
                total += kernel(abs(distance)) * value
                weights += kernel(abs(distance))
        result.append(total / weights)
    return result


def resized(image, height, width, *options):
    rows = [resized_row(row, width, *options) for row in image.tolist()]
    columns = [resized_row(list(column), height, *options) for column in zip(*rows)]
    return np.array(list(zip(*columns)))


def cubic(x):
    return 1.5 * x**3 - 2.5 * x**2 + 1 if x < 1 else -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2


KERNELS = {"BILINEAR": (lambda x: 1 - x, 1), "BICUBIC": (cubic, 2)}


@pytest.mark.parametrize("size", [(3, 4), (11, 4), (7, 13), (1, 1), (6, 5)])
@pytest.mark.parametrize(("mode", "antialias"), [("BILINEAR", True), ("BILINEAR", False), ("BICUBIC", True)])
def test_resize(size, mode, antialias):
    numbers = np.random.default_rng(0).normal(size=(2, 6, 5))
    resize = transforms.Resize(size, transforms.InterpolationMode[mode], antialias=antialias)
    found = resize(minidl.from_numpy(numbers))
    assert found.shape == (2, *size) and found.dtype == minidl.float64
    for plane, wanted in zip(found.numpy(), numbers):
        np.testing.assert_allclose(plane, resized(wanted, *size, *KERNELS[mode], antialias), rtol=1e-11, atol=1e-12)
    for given_, seen in both_kinds(picture(height=6, width=5)):
        out = seen(resize(given_))
        assert out.dtype == np.uint8 and out.shape == (*size, 3)
        wanted = resized(picture(height=6, width=5)[:, :, 1], *size, *KERNELS[mode], antialias)
        assert np.abs(out[:, :, 1] - np.clip(wanted, 0, 255)).max() <= 0.5001


def test_resize_to_the_nearest_pixel():
    image = picture(height=6, width=5)
    nearest = transforms.Resize((4, 7), transforms.InterpolationMode.NEAREST)
    wanted = image[[0, 1, 3, 4]][:, [0, 0, 1, 2, 2, 3, 4]]
    for given_, seen in both_kinds(image):
        np.testing.assert_array_equal(seen(nearest(given_)), wanted)


@pytest.mark.parametrize(
    ("size", "max_size", "shape", "wanted"),
    [
        (4, None, (8, 12), (4, 6)),
        (4, None, (12, 8), (6, 4)),
        ([4], None, (8, 13), (4, 6)),
        (5, None, (7, 7), (5, 5)),
        (4, 5, (8, 16), (2, 5)),
        (4, 9, (8, 16), (4, 8)),
        ((3, 2), None, (8, 16), (3, 2)),
    ],
)
def test_sizes_of_resize(size, max_size, shape, wanted):
    assert transforms.Resize(size, max_size=max_size)(minidl.zeros(1, *shape)).shape == (1, *wanted)


def test_resize_is_that_of_pillow_to_a_rounding():
    Image = pytest.importorskip("PIL.Image")
    image = picture(height=61, width=47)
    for size in ((20, 30), (90, 50), (61, 10)):
        theirs = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR)).astype(int)
        assert np.abs(transforms.Resize(size)(image) - theirs).max() <= 1


def test_resize_passes_gradients():
    x = minidl.randn(2, 5, 4, dtype=minidl.float64, requires_grad=True)
    assert minidl.testing.gradcheck(transforms.Resize((3, 6)), (x,))


def test_random_resized_crop():
    columns = np.broadcast_to(np.arange(40, dtype=np.float32), (1, 30, 40))
    cut = transforms.RandomResizedCrop((8, 8), scale=(0.1, 0.5), ratio=(0.5, 2.0))
    boxes = [cut._box(30, 40) for _ in range(300)]
    for top, left, h, w in boxes:
        assert 0 <= top <= 30 - h and 0 <= left <= 40 - w
        assert 0.08 < h * w / 1200 < 0.54 and 0.45 < w / h < 2.2  # with rounding to whole pixels
    assert len(set(boxes)) > 250
    out = transforms.RandomResizedCrop((5, 8), (0.1, 0.5))(minidl.from_numpy(columns.copy()))
    assert out.shape == (1, 5, 8) and out[0, 0].allclose(out[0, 4]) and (np.diff(out[0, 0].numpy()) > 0).all()
    whole = transforms.RandomResizedCrop(6, scale=(1, 1), ratio=(1, 1))
    square = picture(height=9, width=9)
    for given_, seen in both_kinds(square):
        np.testing.assert_array_equal(seen(whole(given_)), transforms.Resize(6)(square))
    # nothing fits: the middle, as much of it as the ratio allows
    assert whole._box(4, 10) == (0, 3, 4, 4) and whole._box(10, 4) == (3, 0, 4, 4)


def rotated(plane, angle, fill, centre=None):
    """Each pixel from where the turn would have moved it from: a loop."""
    height, width = plane.shape
    x0, y0 = ((width - 1) / 2, (height - 1) / 2) if centre is None else (centre[0] - 0.5, centre[1] - 0.5)
    turn, out = complex(np.cos(np.radians(angle)), np.sin(np.radians(angle))), np.full_like(plane, fill)
    for i in range(height):
        for j in range(width):
            there = complex(j - x0, i - y0) * turn  # downwards is positive: so clockwise, back to the source
            column, row = round(there.real + x0), round(there.imag + y0)
            if 0 <= row < height and 0 <= column < width:
                out[i, j] = plane[row, column]
    return out


@pytest.mark.parametrize("centre", [None, (1, 2)])
@pytest.mark.parametrize("angle", [0, 17, 90, -133.3])
def test_random_rotation(angle, centre):
    image = picture(height=7, width=6)
    turn = transforms.RandomRotation((angle, angle), fill=9, center=centre)
    for given_, seen in both_kinds(image):
        out = seen(turn(given_))
        assert out.dtype == np.uint8
        for c in range(3):
            np.testing.assert_array_equal(out[:, :, c], rotated(image[:, :, c], angle, 9, centre))


def test_rotation_by_right_angles():
    image = picture(height=6, width=6)
    for mode in (transforms.InterpolationMode.NEAREST, transforms.InterpolationMode.BILINEAR):
        for quarters in range(4):
            turn = transforms.RandomRotation((90 * quarters,) * 2, mode)
            np.testing.assert_array_equal(turn(image), np.rot90(image, quarters))
    assert len({transforms.RandomRotation(30)(image).tobytes() for _ in range(20)}) > 5


# -- transforms of colours


def gray_of(r, g, b):
    return 0.2989 * r + 0.587 * g + 0.114 * b


def test_grayscale():
    image = picture()
    wanted = np.array([[int(np.float32(gray_of(*map(np.float32, pixel)))) for pixel in row] for row in image.tolist()])
    for given_, seen in both_kinds(image):
        out = seen(transforms.Grayscale()(given_))
        assert out.shape == (6, 5, 1) and np.abs(out[:, :, 0].astype(int) - wanted).max() <= 1
        assert (out[:, :, 0] == wanted).mean() > 0.9
        np.testing.assert_array_equal(seen(transforms.Grayscale(3)(given_)), np.repeat(out, 3, 2))
        np.testing.assert_array_equal(
            seen(transforms.Grayscale()(given_[..., :1] if given_ is image else given_[:1])), image[..., :1]
        )
    with pytest.raises(ValueError, match="1 or 3 channels"):
        transforms.Grayscale()(minidl.zeros(2, 3, 3))


def jittered(pixels, name, f):
    """Loops over pixels (r, g, b) between 0 and 1."""
    clip = lambda x: min(max(x, 0.0), 1.0)  # noqa: E731
    mean = sum(gray_of(*p) for p in pixels) / len(pixels)
    if name == "hue":
        turned = [colorsys.rgb_to_hsv(*p) for p in pixels]
        return [colorsys.hsv_to_rgb((h + f) % 1, s, v) for h, s, v in turned]
    other = {"brightness": lambda p: 0, "contrast": lambda p: mean, "saturation": lambda p: gray_of(*p)}[name]
    return [tuple(clip(f * x + (1 - f) * other(p)) for x in p) for p in pixels]


@pytest.mark.parametrize(
    ("name", "factor"),
    [("brightness", 0.4), ("brightness", 1.7), ("contrast", 0.3), ("contrast", 2.5), ("saturation", 0.0), ("saturation", 1.8)]
    + [("hue", 0.1), ("hue", -0.5), ("hue", 0.33), ("hue", -0.2)],
)
def test_color_jitter(name, factor):
    image = picture(3)
    image[0, 0], image[0, 1], image[0, 2], image[0, 3] = 0, 255, (7, 7, 7), (9, 9, 3)  # without hue; two largest
    numbers = minidl.from_numpy(image.transpose(2, 0, 1) / 255)
    jitter = transforms.ColorJitter(**{name: (factor, factor)})
    pixels = [tuple(pixel) for row in (image / 255).tolist() for pixel in row]
    wanted = np.array(jittered(pixels, name, factor)).reshape(image.shape)
    np.testing.assert_allclose(jitter(numbers).numpy().transpose(1, 2, 0), wanted, atol=1e-12)
    for given_, seen in both_kinds(image):
        out = seen(jitter(given_))
        assert out.dtype == np.uint8 and np.abs(out - 255 * wanted).max() < 1 + abs(1 - factor)  # cut off, and so is the gray


def test_color_jitter_draws_factors_and_an_order():
    image = minidl.rand(3, 4, 4)
    jitter = transforms.ColorJitter(0.5, 0.5, 0.5, 0.1)
    assert len({jitter(image).numpy().tobytes() for _ in range(10)}) == 10
    assert jitter.brightness == (0.5, 1.5) and jitter.hue == (-0.1, 0.1)
    assert transforms.ColorJitter(2).brightness == (0, 3) and transforms.ColorJitter(saturation=(1, 1)).saturation is None
    np.testing.assert_array_equal(transforms.ColorJitter()(image).numpy(), image.numpy())
    both = transforms.ColorJitter(brightness=(2, 2), contrast=(0.5, 0.5))
    assert len({both(image).numpy().round(5).tobytes() for _ in range(30)}) == 2  # brighter first, or last


@pytest.mark.parametrize(
    ("given_", "dtype", "wanted"),
    [
        (np.array([0, 51, 255], np.uint8), "float32", [0, np.float32(0.2), 1]),
        (np.array([0.0, 0.5, 0.999, 1.0]), "uint8", [0, 127, 255, 255]),
        (np.array([0, 100, 255], np.uint8), "int16", [0, 100 * 128, 255 * 128]),
        (np.array([0, 129, 32767], np.int16), "uint8", [0, 1, 255]),
        (np.array([0.5]), "float32", [0.5]),
        (np.array([3], np.uint8), "uint8", [3]),
    ],
)
def test_convert_image_dtype(given_, dtype, wanted):
    out = transforms.ConvertImageDtype(getattr(minidl, dtype))(minidl.from_numpy(given_.reshape(1, 1, -1)))
    assert out.dtype == getattr(minidl, dtype) and out.numpy()[0, 0].tolist() == [np.array(x, dtype).item() for x in wanted]


def test_random_erasing():
    image = minidl.rand(3, 20, 30) + 1
    before = image.numpy().copy()
    for value in (0, (5, 6, 7), [-1], "random"):
        for _ in range(50):
            out = transforms.RandomErasing(1, value=value)(image).numpy()
            rows, columns = np.nonzero((out != before).any(0))
            top, left, h, w = rows.min(), columns.min(), np.ptp(rows) + 1, np.ptp(columns) + 1
            assert (out != before).any(0).sum() == h * w, "one rectangle"
            assert 0.015 < h * w / 600 < 0.35 and 0.25 < h / w < 4 and h < 20 and w < 30
            if value != "random":
                assert (out[:, top, left] == value).all()
    np.testing.assert_array_equal(image.numpy(), before)
    assert transforms.RandomErasing(0)(image).equal(image)
    assert transforms.RandomErasing(1, inplace=True)(image).equal(image) and (image.numpy() != before).any()
    chosen = (transforms.RandomErasing(0.3).batch(minidl.ones(1000, 1, 8, 8)) == 0).any((1, 2, 3)).float().mean().item()
    assert abs(chosen - 0.3) < 0.06


# -- transforms of transforms


def test_random_apply_and_choice():
    image = picture()
    flip, lower = transforms.RandomHorizontalFlip(1), transforms.Lambda(lambda x: x // 2)
    for steps in ([flip], [flip, lower]):
        outs = [transforms.RandomApply(steps, p=0.3)(image).tobytes() for _ in range(300)]
        assert len(set(outs)) == 2 and abs(outs.count(image.tobytes()) / 300 - 0.7) < 0.1
    flip_or = transforms.RandomChoice([flip, lower], p=(3, 1))
    outs = [flip_or(image).tobytes() for _ in range(300)]
    assert abs(outs.count(np.ascontiguousarray(image[:, ::-1]).tobytes()) / 300 - 0.75) < 0.1
    n = 500
    data = datasets.ImageSet(np.broadcast_to(image, (n, *image.shape)), [0] * n, transforms.RandomApply([flip], 0.3))
    samples = data.__getitems__(range(n))
    assert isinstance(samples, Columns)
    assert abs((default_collate(samples)[0].numpy() == image[:, ::-1]).all((1, 2, 3)).mean() - 0.3) < 0.1
    data.transform = transforms.RandomChoice([flip, transforms.RandomVerticalFlip(1)])
    assert len({x.tobytes() for x in default_collate(data.__getitems__(range(n)))[0].numpy()}) == 2
    for make in (transforms.RandomApply, transforms.RandomChoice):
        assert transforms.batch_form(make([lower])) is None and transforms.batch_form(make([flip])) is not None
    with pytest.raises(ValueError, match="one number for each of the 1"):
        transforms.RandomChoice([flip], [1, 2])


RANDOM = [
    transforms.RandomResizedCrop(8),
    transforms.RandomRotation(40, transforms.InterpolationMode.BILINEAR),
    transforms.ColorJitter(0.4, 0.4, 0.4, 0.1),
    transforms.RandomApply([transforms.RandomVerticalFlip(1)]),
    transforms.RandomChoice([transforms.Grayscale(3), transforms.RandomHorizontalFlip(1)]),
    transforms.Compose([transforms.ToTensor(), transforms.RandomErasing()]),
]


@pytest.mark.parametrize("transform", RANDOM, ids=lambda transform: type(transform).__name__)
def test_a_batch_is_drawn_picture_by_picture_and_follows_the_seed(transform):
    images = np.stack([picture(0, 12, 12)] * 40)

    def out(seed):
        minidl.manual_seed(seed)
        return np.asarray(transform.batch(images.transpose(0, 3, 1, 2)))

    first = out(1)
    np.testing.assert_array_equal(out(1), first)
    assert not np.array_equal(out(2), first) and len({x.tobytes() for x in first}) > 1
    np.testing.assert_array_equal(images, np.stack([picture(0, 12, 12)] * 40))
    data = datasets.ImageSet(images, [0] * 40, transforms.Compose([transform]))
    epochs = []
    for num_workers in (0, 2):
        minidl.manual_seed(5)
        epochs.append([x.numpy() for x, _ in DataLoader(data, 16, num_workers=num_workers)])
    for a, b in zip(*epochs, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda t: t.Resize(0), ValueError, "size must be positive"),
        (lambda t: t.Resize((3, 4), max_size=9), ValueError, "max_size is only"),
        (lambda t: t.Resize(4, max_size=4), ValueError, "max_size must be greater"),
        (lambda t: t.Resize(4, 2), NotImplementedError, "interpolation 2 is not supported"),
        (
            lambda t: t.Resize(4, t.InterpolationMode.BICUBIC, antialias=False),
            NotImplementedError,
            "bicubic .* without antialias",
        ),
        (lambda t: t.RandomResizedCrop(4, scale=(1, 0.5)), ValueError, "scale must be two numbers"),
        (lambda t: t.RandomResizedCrop(4, ratio=(0, 1)), ValueError, "ratio must be two numbers"),
        (lambda t: t.RandomRotation(-3), ValueError, "degrees must be positive"),
        (lambda t: t.RandomRotation(3, expand=True), NotImplementedError, "expand=True"),
        (lambda t: t.RandomRotation(3, t.InterpolationMode.BICUBIC), NotImplementedError, "only .*NEAREST.*BILINEAR"),
        (lambda t: t.ColorJitter(-1), ValueError, "brightness must not be negative"),
        (lambda t: t.ColorJitter(hue=0.6), ValueError, "hue must be .* between -0.5 and 0.5"),
        (lambda t: t.ColorJitter(contrast=(2, 1)), ValueError, "contrast must be"),
        (lambda t: t.Grayscale(2), ValueError, "num_output_channels"),
        (lambda t: t.RandomErasing(2), ValueError, "p must lie"),
        (lambda t: t.RandomErasing(value="black"), TypeError, "value"),
        (lambda t: t.RandomErasing(scale=(0.1, 2)), ValueError, "scale must lie between 0 and 1"),
        (lambda t: t.RandomErasing(1, value=(1, 2))(minidl.ones(3, 4, 4)), ValueError, "one for each of 3 channels"),
        (lambda t: t.RandomErasing()(picture()), TypeError, "ToTensor"),
        (lambda t: t.ConvertImageDtype(minidl.uint8)(picture()), TypeError, "ToTensor"),
        (lambda t: t.ConvertImageDtype(minidl.int32)(minidl.ones(1, 1, 1)), RuntimeError, "int32 cannot be told apart"),
        (lambda t: t.RandomApply([3]), TypeError, "RandomApply: transforms must be callable"),
        (lambda t: t.RandomApply([], p=2), ValueError, "RandomApply: p must lie"),
    ],
)
def test_what_transforms_refuse(make, error, said):
    with pytest.raises(error, match=said):
        make(transforms)


def test_how_transforms_are_written():
    steps = [transforms.Resize(4), transforms.RandomApply([transforms.Grayscale()], 0.2)]
    assert repr(transforms.Compose(steps)) == (
        "Compose(\n    Resize(size=4, interpolation=bilinear, max_size=None, antialias=True)\n"
        "    RandomApply(\n    p=0.2\n    Grayscale(num_output_channels=1)\n)\n)"
    )


# -- transforms, whole batches


FIXED = [
    transforms.ToTensor(),
    transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.4, 0.5, 0.6), (0.3, 0.2, 0.1))]),
    transforms.Compose(
        [transforms.Pad((1, 2), 3), transforms.CenterCrop(4), transforms.RandomHorizontalFlip(1), transforms.ToTensor()]
    ),
    transforms.Compose([transforms.ToTensor(), transforms.RandomVerticalFlip(1), transforms.Pad(1, padding_mode="reflect")]),
    transforms.Compose([transforms.RandomVerticalFlip(1), transforms.CenterCrop((3, 8))]),
    None,
]


@pytest.mark.parametrize("transform", FIXED, ids=str)
def test_a_whole_batch_is_its_pictures(transform):
    images = np.stack([picture(i) for i in range(4)])
    data = datasets.ImageSet(images, [3, 1, 4, 1], transform, lambda label: label * 10)
    samples = data.__getitems__([2, 0, 3])
    assert isinstance(samples, Columns)
    whole, one_by_one = default_collate(samples), default_collate([data[i] for i in [2, 0, 3]])
    for a, b in zip(whole, one_by_one):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert whole[1].tolist() == [40, 30, 10]
    for sample, i in zip(samples, [2, 0, 3]):
        np.testing.assert_array_equal(np.asarray(sample[0]), np.asarray(data[i][0]))
    np.testing.assert_array_equal(images, np.stack([picture(i) for i in range(4)])), "the data set is untouched"


def test_a_batch_that_is_given_is_not_changed():
    x = minidl.rand(2, 3, 4, 4)
    before = x.numpy().copy()
    transforms.Compose([transforms.Normalize((0.5,) * 3, (0.5,) * 3)]).batch(x)
    np.testing.assert_array_equal(x.numpy(), before)


def test_each_picture_of_a_batch_has_its_own_random_numbers():
    n = 2000
    images = np.broadcast_to(picture(height=4, width=5), (n, 4, 5, 3))
    data = datasets.ImageSet(images, [0] * n, transforms.RandomHorizontalFlip(0.3))
    out = default_collate(data.__getitems__(range(n)))[0].numpy()
    mirrored = (out == images[:, :, ::-1]).all((1, 2, 3))
    assert (mirrored | (out == images).all((1, 2, 3))).all() and abs(mirrored.mean() - 0.3) < 0.05
    data.transform = transforms.RandomCrop((3, 3))
    out = default_collate(data.__getitems__(range(n)))[0].numpy()
    found, counts = np.unique([o.tobytes() for o in out], return_counts=True)
    assert set(found.tolist()) == windows(images[0], 3, 3) and counts.min() > n / 6 * 0.8


def test_a_transform_without_whole_batch_form_is_called_for_each_picture():
    class Brighter(transforms.RandomHorizontalFlip):
        def __call__(self, img):
            return super().__call__(img) // 2 + 128

    images = np.stack([picture(i) for i in range(3)])
    for transform in (Brighter(1), transforms.Lambda(lambda x: x[:, ::-1] // 2 + 128), lambda x: x[:, ::-1] // 2 + 128):
        for composed in (
            transform,
            transforms.Compose([transform]),
            transforms.Compose([transforms.CenterCrop((6, 5)), transform]),
        ):
            data = datasets.ImageSet(images, [0, 1, 2], composed)
            out, _ = default_collate(data.__getitems__([1, 2]))
            np.testing.assert_array_equal(out.numpy(), images[1:, :, ::-1] // 2 + 128)


def test_a_transform_of_ones_own_with_a_whole_batch_form():
    class Invert(transforms.Transform):
        def batch(self, images):
            return 255 - images

    data = datasets.ImageSet(np.stack([picture(i) for i in range(3)]), [0, 1, 2], Invert())
    assert isinstance(data.__getitems__([0, 1]), Columns)
    np.testing.assert_array_equal(data[1][0], 255 - picture(1))


def test_transforms_must_be_callable():
    with pytest.raises(TypeError, match="target_transform"):
        datasets.ImageSet(np.zeros((1, 2, 2, 3), np.uint8), [0], None, "double")


@pytest.mark.parametrize("by_picture", [False, True])
def test_random_transforms_follow_the_seed_and_not_the_workers(by_picture):
    steps = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
    data = datasets.Shapes(False, transforms.Compose(steps + [transforms.Lambda(lambda x: x)] * by_picture), size=60)

    def epoch(num_workers, seed):
        minidl.manual_seed(seed)
        return [x.numpy() for x, _ in DataLoader(data, 8, shuffle=True, num_workers=num_workers)]

    first = epoch(0, 1)
    for other in (epoch(2, 1), epoch(3, 1)):
        for a, b in zip(first, other, strict=True):
            np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first[0], epoch(2, 2)[0])


# -- the drawn pictures


def test_shapes_have_the_form_of_cifar():
    train, test = datasets.Shapes(size=1500), datasets.Shapes(train=False, size=700)
    assert train.data.shape == (1500, 32, 32, 3) and train.data.dtype == np.uint8 and len(test) == 700
    image, label = train[3]
    assert image.shape == (32, 32, 3) and type(label) is int and label == train.targets[3]
    assert len(train.classes) == 10 and train.class_to_idx[train.classes[7]] == 7
    counts = np.bincount(train.targets[:1000])
    assert counts.tolist() == [100] * 10
    assert "1500 pictures of 10 classes" in repr(train)


def test_shapes_follow_their_seed():
    a, b = datasets.Shapes(size=1200), datasets.Shapes(size=300)
    np.testing.assert_array_equal(a.data[:300], b.data)
    assert a.targets[:300] == b.targets
    other = datasets.Shapes(size=300, seed=1)
    assert not (other.data == b.data).all((1, 2, 3)).any()
    with pytest.raises(ValueError, match="size"):
        datasets.Shapes(size=-1)


def test_no_test_picture_is_a_training_picture():
    seen = {image.tobytes() for image in datasets.Shapes(size=3000).data}
    assert len(seen) == 3000
    assert not seen & {image.tobytes() for image in datasets.Shapes(train=False, size=3000).data}


def test_a_linear_classifier_fails_on_shapes():
    def numbers(train, size):
        data = datasets.Shapes(train, size=size)
        return data.data.reshape(size, -1) / np.float32(127.5) - 1, np.array(data.targets)

    (x, y), (test_x, test_y) = numbers(True, 10_000), numbers(False, 2_000)
    weight, bias, rng = np.zeros((3072, 10), np.float32), np.zeros(10, np.float32), np.random.default_rng(0)
    for _ in range(5):
        for some in rng.permutation(len(x)).reshape(-1, 100):
            scores = x[some] @ weight + bias
            p = np.exp(scores - scores.max(1, keepdims=True))
            p /= p.sum(1, keepdims=True)
            p[np.arange(100), y[some]] -= 1
            weight -= 3e-5 * x[some].T @ p
            bias -= 3e-5 * p.sum(0)
    train_accuracy, accuracy = ((a @ weight + bias).argmax(1) == b for a, b in ((x, y), (test_x, test_y)))
    assert train_accuracy.mean() > 0.12, "it does learn something"
    assert accuracy.mean() < 0.5


# -- CIFAR-10 from its files


def python2_pickle(batch):
    """A batch as the published files hold it: written by Python 2, with NumPy's old module names."""

    def string(s):
        return b"U" + bytes([len(s)]) + s

    def integer(i):
        return b"J" + int(i).to_bytes(4, "little", signed=True)

    data, labels = batch["data"], batch["labels"]
    shape, kind = integer(data.shape[0]) + integer(data.shape[1]) + b"\x86", string(data.dtype.str[1:].encode())
    dtype = b"cnumpy\ndtype\n(" + kind + b"K\x00K\x01tR(K\x03U\x01|NNN" + integer(-1) + integer(-1) + b"K\x00tb"
    content = b"T" + data.nbytes.to_bytes(4, "little") + data.tobytes()
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"
    array += b"(K\x01" + shape + dtype + b"\x89" + content + b"tb"
    listed = b"](" + b"".join(map(integer, labels)) + b"e"
    return b"\x80\x02}(" + string(b"batch_label") + string(b"x") + string(b"labels") + listed + string(b"data") + array + b"u."


def batch(seed, n=6):
    rng = np.random.default_rng(seed)
    return {"data": rng.integers(0, 256, (n, 3072), dtype=np.uint8), "labels": rng.integers(0, 10, n).tolist()}


NAMES = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]


def write(root):
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for seed, name in enumerate(NAMES):
        (folder / name).write_bytes(python2_pickle(batch(seed)))
    return folder


def check(data, seeds):
    planes = np.concatenate([batch(seed)["data"] for seed in seeds]).reshape(-1, 3, 32, 32)
    np.testing.assert_array_equal(data.data, planes.transpose(0, 2, 3, 1))
    assert data.targets == [label for seed in seeds for label in batch(seed)["labels"]]


def test_cifar_reads_its_folder(tmp_path):
    write(tmp_path)
    train, test = (datasets.CIFAR10(root=str(tmp_path), train=train, download=True) for train in (True, False))
    check(train, range(5))
    check(test, [5])
    assert train.classes[3] == "cat" and train.class_to_idx["truck"] == 9 and train.data.flags.writeable
    image, label = test[0]
    assert image.shape == (32, 32, 3) and image.dtype == np.uint8 and label == test.targets[0]
    flipped = datasets.CIFAR10(tmp_path, False, transforms.RandomHorizontalFlip(1), lambda label: -label)
    np.testing.assert_array_equal(flipped[2][0], test.data[2][:, ::-1])
    assert flipped[2][1] == -test.targets[2]


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_cifar_reads_what_python_3_pickles(tmp_path, protocol):
    folder = write(tmp_path)
    again = {k.encode(): v for k, v in batch(5).items()}
    (folder / "test_batch").write_bytes(pickle.dumps(again, protocol))
    check(datasets.CIFAR10(tmp_path, train=False), [5])


class Harmful:
    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("function, named", [(os.system, "system"), (eval, "eval"), (np.load, "load"), (getattr, "getattr")])
def test_a_pickle_that_wants_more_is_refused_by_name(tmp_path, function, named):
    folder = write(tmp_path)
    (folder / "data_batch_3").write_bytes(
        pickle.dumps({b"data": Harmful(function, "echo > " + str(tmp_path / "harm")), b"labels": []}, 2)
    )
    with pytest.raises(RuntimeError, match=rf"data_batch_3.*{named}.*refused"):
        datasets.CIFAR10(tmp_path)
    assert not (tmp_path / "harm").exists()


def damaged_files():
    good = python2_pickle(batch(0))
    yield "empty", b""
    yield "no pickle", b"<html>404</html>"
    yield "cut", good[:-5000]
    yield "cut early", good[:20]
    yield "a list", pickle.dumps([1, 2])
    yield "without data", pickle.dumps({b"labels": [1]})
    yield "too few labels", python2_pickle({**batch(0), "labels": [1, 2]})
    yield "narrow", python2_pickle({"data": np.zeros((6, 3000), np.uint8), "labels": [0] * 6})
    yield "floats", python2_pickle({"data": np.zeros((6, 3072), np.float32), "labels": [0] * 6})
    yield "class 10", python2_pickle({**batch(0), "labels": [0, 1, 2, 3, 4, 10]})
    yield "class -1", python2_pickle({**batch(0), "labels": [0, 1, 2, 3, 4, -1]})
    yield "no array", pickle.dumps({b"data": b"\0" * 3072, b"labels": [0]}, 2)
    yield "an array is called", b"\x80\x02cnumpy\nndarray\n(K\x05tR."


@pytest.mark.parametrize("content", [pytest.param(content, id=name) for name, content in damaged_files()])
def test_damaged_files_are_refused_by_name(tmp_path, content):
    folder = write(tmp_path)
    (folder / "data_batch_2").write_bytes(content)
    with pytest.raises(RuntimeError, match=r"cifar-10-batches-py.data_batch_2"):
        datasets.CIFAR10(tmp_path)


@given(st.data())
def test_bytes_changed_at_random_are_read_or_refused(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("cifar") / "batch"
    content = bytearray(python2_pickle(batch(0, n=1)))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, 200))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content))
    try:
        planes, labels = cifar.read_batch(path)
    except RuntimeError as error:
        assert str(path) in str(error)
    else:
        assert planes.shape == (len(labels), 3, 32, 32) and planes.dtype == np.uint8


def test_a_missing_file_is_named(tmp_path):
    (write(tmp_path) / "data_batch_4").unlink()
    with pytest.raises(RuntimeError, match="data_batch_4 is missing"):
        datasets.CIFAR10(tmp_path)
    check(datasets.CIFAR10(tmp_path, train=False), [5])


def test_without_data_it_says_where_it_looked(tmp_path):
    with pytest.raises(RuntimeError) as caught:
        datasets.CIFAR10(tmp_path / "here")
    for word in ("cifar-10-batches-py", "cifar-10-python.tar.gz", str(tmp_path / "here"), "download=True", "Shapes"):
        assert word in str(caught.value)


# -- CIFAR-10 from its archive


def pack(root, members, monkeypatch):
    """Write the archive, and let its MD5 be the published one."""
    root.mkdir(exist_ok=True)
    path = root / "cifar-10-python.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for member, content in members:
            if isinstance(member, str):
                member = tarfile.TarInfo(member)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    monkeypatch.setattr(cifar, "MD5", hashlib.md5(path.read_bytes()).hexdigest())
    return path


def members():
    folder = tarfile.TarInfo("cifar-10-batches-py")
    folder.type = tarfile.DIRTYPE
    yield folder, b""
    for seed, name in enumerate(NAMES):
        yield f"cifar-10-batches-py/{name}", python2_pickle(batch(seed))


def test_cifar_unpacks_the_archive_beside_it(tmp_path, monkeypatch):
    pack(tmp_path, members(), monkeypatch)
    check(datasets.CIFAR10(tmp_path), range(5))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cifar-10-batches-py", "cifar-10-python.tar.gz"]
    (tmp_path / "cifar-10-python.tar.gz").unlink()
    check(datasets.CIFAR10(tmp_path, train=False), [5])


def test_another_archive_is_refused(tmp_path, monkeypatch):
    path = pack(tmp_path, members(), monkeypatch)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(RuntimeError, match=r"cifar-10-python.tar.gz is damaged.*MD5"):
        datasets.CIFAR10(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["cifar-10-python.tar.gz"]


def link(kind, name, target):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize(
    "member",
    [
        "../harm",
        "/tmp/harm",
        "cifar-10-batches-py/../../harm",
        "cifar-10-batches-py\\..\\harm",
        "elsewhere/harm",
        link(tarfile.SYMTYPE, "cifar-10-batches-py/test_batch", "/etc/passwd"),
        link(tarfile.LNKTYPE, "cifar-10-batches-py/test_batch", "../harm"),
        link(tarfile.FIFOTYPE, "cifar-10-batches-py/pipe", ""),
        link(tarfile.CHRTYPE, "cifar-10-batches-py/device", ""),
        link(tarfile.GNUTYPE_SPARSE, "cifar-10-batches-py/sparse", ""),
    ],
    ids=lambda member: getattr(member, "linkname", member) or member.name.rpartition("/")[2],
)
def test_an_archive_that_reaches_outside_is_refused(tmp_path, monkeypatch, member):
    pack(tmp_path / "root", [*members(), (member, b"")], monkeypatch)
    with pytest.raises(RuntimeError, match="no plain file inside"):
        datasets.CIFAR10(tmp_path / "root")
    assert [p.name for p in (tmp_path / "root").iterdir()] == ["cifar-10-python.tar.gz"]
    assert [p.name for p in tmp_path.iterdir()] == ["root"]


def test_an_archive_that_grows_too_much_is_refused(tmp_path, monkeypatch):
    """The bounds are looked at before anything is written."""
    monkeypatch.setattr(cifar, "MOST_BYTES", 1_000_000)
    many = [(f"cifar-10-batches-py/{i}", b"") for i in range(200)]
    for bad, said in (
        (many, "more than 100 members"),
        ([("cifar-10-batches-py/zeros", bytes(10**7))], "larger than 1,000,000"),
    ):
        pack(tmp_path, bad, monkeypatch)
        with pytest.raises(RuntimeError, match=said):
            datasets.CIFAR10(tmp_path)
        assert [p.name for p in tmp_path.iterdir()] == ["cifar-10-python.tar.gz"]


# -- CIFAR-10 by download


def site(tmp_path, monkeypatch):
    """The site of CIFAR-10, in a folder here."""
    published = pack(tmp_path / "site", members(), monkeypatch)
    monkeypatch.setattr(cifar, "URL", published.as_uri())
    return published


def test_download(tmp_path, monkeypatch):
    published = site(tmp_path, monkeypatch)
    root = tmp_path / "data" / "sets"
    check(datasets.CIFAR10(root, download=True), range(5))
    assert sorted(p.name for p in root.iterdir()) == ["cifar-10-batches-py", "cifar-10-python.tar.gz"]
    published.unlink()
    check(datasets.CIFAR10(root, train=False, download=True), [5])  # what is there is not downloaded again


@pytest.mark.parametrize("cut", [None, 0, 100, -1])
def test_a_failed_download_leaves_nothing_and_says_what_to_do(tmp_path, monkeypatch, cut):
    published = site(tmp_path, monkeypatch)
    if cut is None:
        published.unlink()
    else:
        published.write_bytes(published.read_bytes()[:cut])
    with pytest.raises(RuntimeError, match=r"could not be downloaded.*cifar-10-python.tar.gz.*Shapes"):
        datasets.CIFAR10(tmp_path / "data", download=True)
    assert not (tmp_path / "data").exists()


# -- sheets


def test_make_grid():
    images = minidl.rand(5, 3, 4, 6)
    grid = make_grid(images, nrow=2, padding=1, pad_value=0.5).numpy()
    assert grid.shape == (3, 3 * 5 + 1, 2 * 7 + 1)
    for i, image in enumerate(images):
        top, left = i // 2 * 5 + 1, i % 2 * 7 + 1
        np.testing.assert_array_equal(grid[:, top : top + 4, left : left + 6], image.numpy())
        grid[:, top : top + 4, left : left + 6] = 0.5
    assert (grid == 0.5).all()


def test_make_grid_of_one_of_grey_and_of_a_list():
    grey = minidl.rand(4, 6)
    for given_ in (grey, grey[None], grey[None, None]):
        np.testing.assert_array_equal(make_grid(given_).numpy(), np.stack([grey.numpy()] * 3))
    assert make_grid([grey[None], grey[None]]).shape == (3, 8, 18)
    with pytest.raises(TypeError, match="make_grid"):
        make_grid(np.zeros((2, 3, 4, 4)))


def test_make_grid_scales():
    images = minidl.tensor([[[[-1.0, 3.0]]], [[[0.0, 1.0]]]])
    assert make_grid(images, padding=0, normalize=True)[0].tolist() == [[0, 1, 0.25, 0.5]]
    assert make_grid(images, padding=0, normalize=True, scale_each=True)[0].tolist() == [[0, 1, 0, 1]]
    assert make_grid(images, padding=0, normalize=True, value_range=(0, 2))[0].tolist() == [[0, 1, 0, 0.5]]


def test_save_image(tmp_path, monkeypatch):
    Image = pytest.importorskip("PIL.Image")
    images = minidl.tensor([[[[0.0, 0.5], [1.0, 2.0]]]])
    save_image(images, tmp_path / "a.png")
    assert np.asarray(Image.open(tmp_path / "a.png"))[..., 0].tolist() == [[0, 128], [255, 255]]
    file = io.BytesIO()
    save_image(minidl.rand(3, 3, 4, 4), file, format="png", nrow=3, padding=0)
    assert Image.open(file).size == (12, 4)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match="pip install pillow"):
        save_image(images, tmp_path / "b.png")


def test_a_script_finds_everything_where_torchvision_has_it():
    assert vision.datasets.CIFAR10 and vision.transforms.Compose and vision.utils.make_grid
    assert isinstance(Subset(datasets.Shapes(size=10), range(5)).__getitems__([0, 4]), Columns)

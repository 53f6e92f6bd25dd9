"""Pictures that lie on a device: what becomes of them, on the CPU and on a GPU or the stand-in for one."""

import numpy as np
import pytest
from standin import strict
from test_cuda import gpu, on_standin  # noqa: F401
from test_cuda_kernels import hard

import minidl
import minidl.nn.functional as F
from minidl import nn, optim
from minidl.compiler import explain
from minidl.kernels import cuda as kernels
from minidl.vision import PictureLoader, augmented, transforms
from minidl.vision.datasets import ImageSet, Shapes
from minidl.vision.pictures import _by_numpy

ON = ["cpu", "cuda"]
STD = [0.2, 0.3, 0.25]
MEAN = [0.5, 0.4, 0.1]


@pytest.fixture(autouse=True)
def ready(gpu):  # noqa: F811
    minidl.zeros(1, device="cuda")
    minidl.manual_seed(0)


def pictures(n=7, c=3, h=6, w=5):
    return np.random.default_rng(0).integers(0, 256, (n, c, h, w)).astype(np.uint8)


def one_by_one(data, index, chances, mean, std, padding, flip):
    """The definition: a picture in a black frame, of which a part is cut out and mirrored, a pixel at a time."""
    n, c, h, w = len(index), *data.shape[1:]
    out = np.zeros((n, c, h, w))
    for k, (which, (down, right, mirror)) in enumerate(zip(index, chances)):
        frame = np.zeros((c, h + 2 * padding, w + 2 * padding))
        frame[:, padding : padding + h, padding : padding + w] = data[which]
        top, left = int(down * (2 * padding + 1)), int(right * (2 * padding + 1))
        part = frame[:, top : top + h, left : left + w]
        part = part[:, :, ::-1] if mirror < flip else part
        for ch in range(c):
            out[k, ch] = (part[ch] / 255 - mean[ch]) / std[ch]
    return out


@pytest.mark.parametrize(("padding", "flip"), [(0, 0.0), (2, 0.0), (0, 0.5), (4, 0.5), (9, 1.0)])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_what_becomes_of_pictures(padding, flip, channels):
    data, rng = pictures(c=channels), np.random.default_rng(1)
    index, chances = rng.integers(0, 7, 11), rng.random((11, 3)).astype(np.float32)
    chances[0], chances[1] = 0, np.nextafter(np.float32(1), np.float32(0))
    rest = [0.5, 0.4, 0.1, 0.3][:channels], [0.2, 0.3, 0.25, 1.0][:channels], padding, flip
    wanted = one_by_one(data, index, chances, *rest)
    for found in (_by_numpy(data, index, chances, *rest), hard(kernels.augmented, data, index, chances, *rest)):
        assert found.dtype == np.float32 and found.flags.c_contiguous
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("device", ON)
def test_without_chance_it_is_the_transforms(device):
    data = pictures()
    found = augmented(minidl.tensor(data, device=device), minidl.tensor([3, 0, 3], device=device), MEAN, STD)
    chain = transforms.Compose([transforms.ToTensor(), transforms.Normalize(MEAN, STD)])
    wanted = [chain(data[i].transpose(1, 2, 0)).cpu().numpy() for i in (3, 0, 3)]
    assert found.device.type == device and found.dtype == minidl.float32 and not found.requires_grad
    np.testing.assert_allclose(found.cpu().numpy(), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("device", ON)
def test_places_and_mirrors_are_drawn_evenly_and_again_from_a_seed(device):
    data = minidl.zeros(1, 1, 5, 5, dtype=minidl.uint8, device=device)
    data[0, 0, 2, 1] = 255
    index = minidl.zeros(4000, dtype=minidl.int64, device=device)
    found = augmented(data, index, 0.0, 1.0, padding=1, flip=0.25)
    share = found.mean(0)[0].cpu().numpy()
    np.testing.assert_allclose(share[1:4].sum(1), [1 / 3] * 3, atol=0.04)
    np.testing.assert_allclose(share.sum(0), [0.25, 0.25, 1 / 3, 0.25 / 3, 0.25 / 3], atol=0.04)
    again = minidl.Generator(device).manual_seed(5), minidl.Generator(device).manual_seed(5)
    a, b = (augmented(data, index[:50], padding=1, generator=g) for g in again)
    assert a.tolist() == b.tolist() != augmented(data, index[:50], padding=1, generator=again[0]).tolist()


@pytest.mark.parametrize("device", ON)
def test_a_loader(device):
    data, classes = pictures(n=10), list(range(10))
    loader = PictureLoader((data.transpose(0, 2, 3, 1), classes), 4, device=device, mean=0.0, std=1 / 255)
    found = [*loader]
    assert len(loader) == 3 and [len(y) for _, y in found] == [4, 4, 2]
    assert minidl.cat([y for _, y in found]).tolist() == classes and found[0][0].device.type == device
    np.testing.assert_allclose(minidl.cat([x for x, _ in found]).cpu().numpy(), data, atol=1e-3)
    sets = ImageSet(data.transpose(0, 2, 3, 1), classes)
    mixed = PictureLoader(sets, 4, True, True, minidl.Generator("cpu").manual_seed(3), device, mean=0.0, std=1 / 255)
    for _ in range(2):
        epoch = [*mixed]
        order = minidl.cat([y for _, y in epoch]).tolist()
        assert len(epoch) == len(mixed) == 2 and len({*order}) == 8 and order != sorted(order)
        np.testing.assert_allclose(minidl.cat([x for x, _ in epoch]).cpu().numpy(), data[order], atol=1e-3)


@on_standin
def test_nothing_is_sent_and_nothing_waits():
    loader = PictureLoader(Shapes(train=False), 64, device="cuda", padding=4, flip=0.5)
    batches = iter(loader)
    next(batches)
    waits = len(strict.SYNCS)
    x, y = next(batches)
    assert x.shape == (64, 3, 32, 32) and y.shape == (64,) and strict.SYNCS[waits:] == []


def test_a_captured_step_draws_anew():
    data = minidl.tensor(pictures(16, 3, 6, 6), device="cuda")
    targets = minidl.tensor(np.arange(16) % 3, device="cuda")

    def train(compiled):
        minidl.manual_seed(0)
        with minidl.device("cpu"):
            net = nn.Sequential(nn.Flatten(), nn.Linear(108, 3)).cuda()
        opt = optim.SGD(net.parameters(), 0.01)

        def step(index):
            opt.zero_grad()
            loss = F.cross_entropy(net(augmented(data, index, padding=2, flip=0.5)), targets[:5])
            loss.backward()
            opt.step()
            return loss

        run = minidl.compile(step) if compiled else step
        losses = [run(minidl.tensor([3, 1, 4, 1, 5], device="cuda")).item() for _ in range(6)]
        return losses, explain(run) if compiled else ""

    losses, said = train(True)
    assert "captured as a CUDA graph" in said and losses == train(False)[0] and len({*losses}) == 6


@pytest.mark.parametrize("kind", [list, np.array, minidl.tensor])
def test_means_of_any_kind(kind):
    data, index = minidl.tensor(pictures()), minidl.tensor([3, 0])
    found = augmented(data, index, kind([0.1, 0.2, 0.3]), kind([0.5, 0.6, 0.7]))
    wanted = (data.numpy()[[3, 0]] / 255 - np.reshape([0.1, 0.2, 0.3], (3, 1, 1))) / np.reshape([0.5, 0.6, 0.7], (3, 1, 1))
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda d, i: augmented(d.float(), i), "data must be uint8 .N, C, H, W. with C up to 4, got float32"),
        (lambda d, i: augmented(d[0], i), "data must be uint8"),
        (lambda d, i: augmented(d, i.float()), "index must be integers of one dimension, got float32"),
        (lambda d, i: augmented(d, i, [0.5, 0.5]), "one for each of 3 channels: .0.5, 0.5."),
        (lambda d, i: augmented(d, i, 0.5, np.array([0.5, 0.5])), "one for each of 3 channels: 0.5, .0.5, 0.5."),
        (lambda d, i: augmented(d[:0], i), "there are no pictures, and 1 are asked for"),
        (lambda d, i: augmented(d, i, padding=-1), "padding must not be negative, and flip lie between 0 and 1, got -1"),
        (lambda d, i: augmented(d, i, flip=2), "between 0 and 1, got 0 and 2"),
        (lambda d, i: PictureLoader((pictures(), [1, 2])), "as many targets as pictures and a batch_size from 1 on, got 7"),
        (lambda d, i: PictureLoader((pictures(), range(7)), 0), "batch_size=0"),
        (lambda d, i: PictureLoader((pictures()[:, 0], range(7)), 2), r"data must be uint8 \(N, H, W, C\) .*, got"),
        (lambda d, i: PictureLoader((pictures() / 255, range(7)), 2), r"PictureLoader: data must be uint8 .*, got float"),
    ],
)
def test_what_is_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        wrong(minidl.tensor(pictures()), minidl.tensor([0]))

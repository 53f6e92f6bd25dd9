"""The loader and what surrounds it beside PyTorch's, transforms and sheets beside torchvision's."""

import collections
import threading

import numpy as np
import pytest

import minidl
from minidl.vision import transforms
from minidl.vision.utils import make_grid

torch = pytest.importorskip("torch")

Point = collections.namedtuple("Point", "x y")


def plain(batch):
    """A batch with its tensors as (dtype, numbers)."""
    if isinstance(batch, (minidl.Tensor, torch.Tensor)):
        return str(batch.dtype).partition(".")[2], batch.tolist()
    if isinstance(batch, dict):
        return {key: plain(value) for key, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return type(batch).__name__, [plain(value) for value in batch]
    return batch


@pytest.mark.parametrize(
    "samples",
    [
        [1, 2, 3],
        [1.5, 2.5],
        [True, False],
        [1, 2.5],
        ["a", "b"],
        [np.float32(1), np.float32(2)],
        [np.float64(1), np.float64(2)],
        [np.int16(1), np.int16(2)],
        [np.arange(3), np.arange(3) + 1],
        [np.zeros((2, 3), np.float32).T, np.ones((2, 3), np.float32).T],
        [(1, "a", 2.0), (3, "b", 4.0)],
        [[1, [2, 3]], [4, [5, 6]]],
        [{"x": 1, "y": (2, 3)}, {"x": 4, "y": (5, 6)}],
        [Point(1, 2.0), Point(3, 4.0)],
    ],
    ids=repr,
)
@pytest.mark.parametrize("function", ["default_collate", "default_convert"])
def test_collation(function, samples):
    ours, theirs = (getattr(library.utils.data, function)(samples) for library in (minidl, torch))
    assert plain(ours) == plain(theirs)


@pytest.mark.parametrize(
    "samples", [[[1, 2], [1]], [object()], [None], [np.zeros(2), np.zeros(3)]], ids=["lists", "objects", "nones", "arrays"]
)
def test_both_refuse_to_collate(samples):
    for library in (minidl, torch):
        with pytest.raises((RuntimeError, TypeError, ValueError)):
            library.utils.data.default_collate(samples)


ORDERS = {
    "plain": {"batch_size": 3},
    "one by one": {},
    "drop_last": {"batch_size": 3, "drop_last": True},
    "sampler": {"batch_size": 2, "sampler": [4, 0, 1]},
    "batch_sampler": {"batch_sampler": [[4], [0, 1]]},
    "no batches": {"batch_size": None},
    "collate_fn": {"batch_size": 3, "collate_fn": list},
    "pinned": {"batch_size": 3, "pin_memory": False},
}


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("options", ORDERS.values(), ids=ORDERS)
def test_loaders_give_the_same_batches(options, num_workers):
    data = [(i, float(i)) for i in range(8)]
    loader = minidl.utils.data.DataLoader(data, num_workers=num_workers, **options)
    theirs = torch.utils.data.DataLoader(data, **options)
    assert [plain(batch) for batch in loader] == [plain(batch) for batch in theirs]
    assert len(loader) == len(theirs) and loader.batch_size == theirs.batch_size and loader.drop_last == theirs.drop_last
    assert not [t for t in threading.enumerate() if t.name.startswith("minidl-loader")]


@pytest.mark.parametrize(
    "options",
    [
        {"num_workers": -1},
        {"timeout": -1},
        {"prefetch_factor": 2},
        {"prefetch_factor": -1, "num_workers": 1},
        {"persistent_workers": True},
        {"shuffle": True, "sampler": [0]},
        {"batch_sampler": [[0]], "batch_size": 2},
        {"batch_sampler": [[0]], "shuffle": True},
        {"batch_sampler": [[0]], "sampler": [0]},
        {"batch_size": None, "drop_last": True},
        {"batch_size": 0},
        {"batch_size": -1},
    ],
    ids=str,
)
def test_both_loaders_refuse(options):
    for library in (minidl, torch):
        with pytest.raises(ValueError):
            library.utils.data.DataLoader([1, 2, 3], **options)


def test_splits_and_joins_have_the_same_sizes():
    for lengths in ([3, 4], [0.5, 0.5], [0.1, 0.2, 0.7], [1 / 3] * 3):
        sizes = [[len(p) for p in library.utils.data.random_split(range(7), lengths)] for library in (minidl, torch)]
        assert sizes[0] == sizes[1]
    ours, theirs = (library.utils.data.ConcatDataset([[1, 2], [3], [4, 5, 6]]) for library in (minidl, torch))
    assert ours.cumulative_sizes == theirs.cumulative_sizes
    assert [ours[i] for i in range(-6, 6)] == [theirs[i] for i in range(-6, 6)]


def test_samplers_have_the_same_length():
    for make in (
        lambda data: data.RandomSampler(range(5), num_samples=12),
        lambda data: data.RandomSampler(range(5), replacement=True),
        lambda data: data.SubsetRandomSampler([1, 2]),
        lambda data: data.WeightedRandomSampler([0.1, 0.9], 7),
        lambda data: data.BatchSampler(data.SequentialSampler(range(7)), 3, True),
        lambda data: data.BatchSampler(data.SequentialSampler(range(7)), 3, False),
    ):
        ours, theirs = make(minidl.utils.data), make(torch.utils.data)
        assert len(ours) == len(theirs) == len(list(ours)) == len(list(theirs))


# -- torchvision


@pytest.fixture(scope="module")
def torchvision():
    try:
        import torchvision
    except Exception as error:  # one that does not fit the installed PyTorch raises many things
        pytest.skip(f"torchvision cannot be imported: {error}")
    return torchvision


TRANSFORMS = {
    "ToTensor": lambda T: T.ToTensor(),
    "Normalize": lambda T: T.Compose([T.ToTensor(), T.Normalize((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))]),
    "flip": lambda T: T.RandomHorizontalFlip(1),
    "turn": lambda T: T.RandomVerticalFlip(p=1.0),
    "Pad": lambda T: T.Pad((1, 2, 3, 4), fill=7),
    "Pad colour": lambda T: T.Pad(1, fill=(1, 2, 3)),
    "Pad edge": lambda T: T.Pad((2, 1), padding_mode="edge"),
    "Pad reflect": lambda T: T.Pad(2, padding_mode="reflect"),
    "Pad symmetric": lambda T: T.Pad(2, padding_mode="symmetric"),
    "CenterCrop": lambda T: T.CenterCrop((4, 3)),
    "CenterCrop odd": lambda T: T.CenterCrop((3, 4)),
    "CenterCrop larger": lambda T: T.CenterCrop((10, 8)),
    "RandomCrop whole": lambda T: T.RandomCrop((7, 6)),
    "RandomCrop padded": lambda T: T.RandomCrop((9, 10), padding=(2, 1), fill=5),
}


@pytest.mark.parametrize("make", TRANSFORMS.values(), ids=TRANSFORMS)
def test_transforms(torchvision, make):
    Image = pytest.importorskip("PIL.Image")
    image = np.random.default_rng(0).integers(0, 256, (7, 6, 3), dtype=np.uint8)
    ours, theirs = make(transforms)(image), make(torchvision.transforms)(Image.fromarray(image))
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


@pytest.mark.parametrize("name", [name for name in TRANSFORMS if name not in ("ToTensor", "Normalize", "Pad colour")])
def test_transforms_of_tensors(torchvision, name):
    image = np.random.default_rng(0).normal(size=(2, 3, 7, 6)).astype(np.float32)
    ours = TRANSFORMS[name](transforms)(minidl.from_numpy(image))
    theirs = TRANSFORMS[name](torchvision.transforms)(torch.from_numpy(image))
    np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


@pytest.mark.parametrize(
    "options",
    [{}, {"nrow": 2, "padding": 3, "pad_value": 0.5}, {"normalize": True}, {"normalize": True, "scale_each": True}],
    ids=str,
)
@pytest.mark.parametrize("shape", [(5, 3, 4, 6), (3, 1, 4, 6), (3, 4, 6), (4, 6)])
def test_make_grid(torchvision, options, shape):
    images = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    ours, theirs = (
        make_grid(minidl.from_numpy(images), **options),
        torchvision.utils.make_grid(torch.from_numpy(images), **options),
    )
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-6, atol=1e-7)

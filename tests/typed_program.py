"""What a user of minidl writes, checked in strict mode."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

import minidl
import minidl.nn.functional as F
from minidl import Tensor, nn, optim
from minidl.optim.lr_scheduler import CosineAnnealingLR
from minidl.utils.data import DataLoader, Dataset, Sampler, TensorDataset
from minidl.vision import datasets, transforms

if TYPE_CHECKING:
    from typing_extensions import assert_type


def kinds(x: Tensor, weight: nn.Parameter) -> None:
    """Never called: to a checker the commonest results are a `Tensor`, and not `Any`, with which everything would pass."""
    for made in (minidl.tensor([1.0]), minidl.zeros(2), minidl.randn(2, 3), minidl.arange(3), minidl.from_numpy(np.ones(2))):
        assert_type(made, Tensor)
    for number in (x + 1, 2 * x, 1 - x, x / x, x**2, x @ x, -x, abs(x), x[0], x.T, weight * x):
        assert_type(number, Tensor)
    for answer in (x == 1, x < x, ~(x > 0) & (x != 1)):
        assert_type(answer, Tensor)
    for less in (x.sum(1), x.mean(), x.softmax(1), x.reshape(2, -1), x.view(-1), x.flatten(1), x.argmax(1), x.float()):
        assert_type(less, Tensor)
    for same in (x.detach(), x.clone(), x.add_(1), x.zero_(), x.requires_grad_(), x.new_zeros(2), x.masked_fill(x > 0, 0.0)):
        assert_type(same, Tensor)
    for function in (minidl.exp(x), minidl.sum(x, 1), minidl.var(x), minidl.stack([x, x]), minidl.cat([x, x], 1)):
        assert_type(function, Tensor)
    for layer in (F.relu(x), F.softmax(x, 1), F.dropout(x), F.layer_norm(x, (3,)), F.cross_entropy(x, x)):
        assert_type(layer, Tensor)
    for part in x:
        assert_type(part, Tensor)
    assert_type(x.shape, tuple[int, ...])
    assert_type(x.numel(), int)


class Net(nn.Module):
    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.blocks = nn.ModuleList([nn.Linear(width, width) for _ in range(2)])
        self.scale = nn.Parameter(minidl.ones(width))
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(width, 10))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.conv(x))).mean((2, 3))
        for block in self.blocks:
            x = x + F.gelu(block(x)) * self.scale
        scores: Tensor = self.head(x)
        return scores


class Squares(Dataset[tuple[Tensor, Tensor]]):
    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        x = minidl.tensor([float(index)])
        return x, x**2

    def __len__(self) -> int:
        return 4


class Numbers(Dataset):  # of anything
    def __getitem__(self, index: int) -> int:
        return index

    def __len__(self) -> int:
        return 4


class Backwards(Sampler[int]):
    def __iter__(self) -> Iterator[int]:
        return iter([3, 2, 1, 0])

    def __len__(self) -> int:
        return 4


def squares() -> list[float]:
    loader = DataLoader(Squares() + Numbers(), batch_size=None, sampler=Backwards())
    return [y.item() for x, y in loader]


def batches(n: int) -> Iterator[tuple[Tensor, Tensor]]:
    data = TensorDataset(minidl.randn(n, 3, 8, 8), minidl.randint(0, 10, (n,)))
    for x, y in DataLoader(data, batch_size=4, shuffle=True):
        yield x.float(), y


def train(net: nn.Module, steps: int, device: str = "cpu") -> list[float]:
    optimizer = optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.1)
    schedule = CosineAnnealingLR(optimizer, steps)
    losses: list[float] = []
    for x, y in batches(4 * steps):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x.to(device)), y)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses


def entropy(scores: Tensor) -> Tensor:
    p = scores.softmax(1)
    return -(p * p.log()).sum(1)


@minidl.no_grad()
def predict(net: nn.Module, pictures: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    net.eval()
    classes: npt.NDArray[np.int64] = net(minidl.from_numpy(pictures)).argmax(1).numpy()
    return classes


def main() -> None:
    minidl.manual_seed(0)
    net = Net().to(minidl.float32)
    print(train(net, 3), entropy(net(minidl.randn(2, 3, 8, 8))))
    x = minidl.tensor([1.0, 2.0], dtype=minidl.float64, requires_grad=True)
    (g,) = minidl.autograd.grad((x**2).sum(), (x,))
    print(x.shape, x.dtype, x[0], -x + 1, x @ x, g, len(x), float(x[0]), x.tolist(), x.max(0).values)
    folder = Path(".")
    minidl.save(net.state_dict(), folder / "net.safetensors")
    net.load_state_dict(minidl.load(folder / "net.safetensors"))
    print(predict(net, np.zeros((2, 3, 8, 8), np.float32)))
    fast = minidl.compile(net)
    print(fast(minidl.zeros(2, 3, 8, 8)).shape)
    pictures = datasets.Shapes(train=False, transform=transforms.Compose([transforms.ToTensor()]))
    print(len(pictures), squares())


if __name__ == "__main__":
    main()

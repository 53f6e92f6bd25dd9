"""What a user of minidl writes, checked in strict mode."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

import minidl
import minidl.nn.functional as F
from minidl import Tensor, nn, optim
from minidl.optim.lr_scheduler import CosineAnnealingLR
from minidl.utils.data import DataLoader, TensorDataset
from minidl.vision import datasets, transforms


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
    p: Tensor = scores.softmax(1)
    found: Tensor = -(p * p.log()).sum(1)
    return found


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
    print(len(pictures))


if __name__ == "__main__":
    main()

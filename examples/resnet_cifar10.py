"""Train a ResNet-20 on CIFAR-10: pictures mirrored and shifted, a warm-up, a rate that falls along a cosine, averaged weights.

    python examples/resnet_cifar10.py                # eight epochs; twenty minutes on two cores
    python examples/resnet_cifar10.py --resume       # go on where it stopped
    python examples/resnet_cifar10.py --compile      # with the network's ops fused

Data, checkpoints and pictures are as in examples/cifar10.py, and so is the loop. What is tested and judged is not the network
as the last step left it but the moving average of its weights, which is steadier.

Sources: He et al., Deep Residual Learning for Image Recognition, CVPR 2016, section 4.2; Loshchilov and Hutter, SGDR, ICLR
2017; Polyak and Juditsky, Acceleration of Stochastic Approximation by Averaging, 1992.
"""

import cifar10

import minidl.nn.functional as F
from minidl import nn, optim
from minidl.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR
from minidl.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from minidl.vision import transforms


class Block(nn.Module):
    """Two convolutions, and the input added to what they make of it; where the size changes, a 1 x 1 convolution of it."""

    def __init__(self, c_in, c_out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.shortcut = nn.Identity()
        if stride != 1 or c_in != c_out:
            self.shortcut = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class ResNet20(nn.Module):
    """A convolution, three stages of three blocks with 16, 32 and 64 channels, the mean over all positions, a linear layer."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.stage1 = nn.Sequential(Block(16, 16, 1), Block(16, 16, 1), Block(16, 16, 1))
        self.stage2 = nn.Sequential(Block(16, 32, 2), Block(32, 32, 1), Block(32, 32, 1))
        self.stage3 = nn.Sequential(Block(32, 64, 2), Block(64, 64, 1), Block(64, 64, 1))
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))  # (N, 3, 32, 32) -> (N, 16, 32, 32)
        x = self.stage3(self.stage2(self.stage1(x)))  # -> (N, 64, 8, 8)
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))  # -> (N, 64) -> (N, 10)


TO_TRAIN = transforms.Compose(
    [transforms.RandomHorizontalFlip(), transforms.RandomCrop(32, padding=4), *cifar10.TO_INPUT.transforms]
)


class Training(cifar10.Training):
    """As there, with another network, and a schedule and an average beside it."""

    checks = ("batch_size", "lr", "momentum", "seed", "epochs", "weight_decay", "decay")

    def build(self, args):
        self.net = ResNet20().to(self.device)
        self.optimizer = optim.SGD(self.net.parameters(), args.lr, args.momentum, weight_decay=args.weight_decay, nesterov=True)
        steps, warm_up = args.epochs * len(self.loader), len(self.loader)  # the first epoch
        up = LinearLR(self.optimizer, 0.1, total_iters=warm_up)
        down = CosineAnnealingLR(self.optimizer, max(steps - warm_up, 1))
        self.schedule = SequentialLR(self.optimizer, [up, down], [warm_up])
        self.average = AveragedModel(self.net, multi_avg_fn=get_ema_multi_avg_fn(args.decay), use_buffers=True)
        self.parts = {
            "model": self.net, "optimizer": self.optimizer, "schedule": self.schedule, "average": self.average,
        }  # fmt: skip
        self.judged = self.average

    def step(self, images, labels):
        """One step of gradient descent, of the schedule, and of the average."""
        result = super().step(images, labels)
        self.schedule.step()
        self.average.update_parameters(self.net)
        return result


def options():
    """The command line of this example."""
    made = cifar10.parser(__doc__, epochs=8, batch_size=128, lr=0.1, checkpoint="runs/resnet_cifar10.safetensors")
    made.add_argument("--weight-decay", type=float, default=5e-4, help="of SGD (0.0005)")
    made.add_argument("--decay", type=float, default=0.995, help="of the average: the weight of what was before (0.995)")
    return made


if __name__ == "__main__":
    cifar10.run(options().parse_args(), Training, TO_TRAIN)

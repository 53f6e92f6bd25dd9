"""Train the classic network of two convolutions on CIFAR-10, and look at what it learnt.

    python examples/cifar10.py                     # ten epochs, a few minutes on a laptop
    python examples/cifar10.py --resume            # go on where it stopped
    python examples/cifar10.py --compile           # with the network's ops fused, which is quicker
    python examples/cifar10.py --data embedded     # with the pictures that minidl draws itself
    python -m minidl.distributed.launch -n 2 examples/cifar10.py     # each batch shared out among two processes

Without CIFAR-10 on disk (``--data FOLDER``, holding ``cifar-10-batches-py/``) and without a way to download it, the
embedded pictures are used, and the program says so.
"""

import argparse
import contextlib
import signal
import sys
import time
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from tqdm.auto import tqdm

import minidl
import minidl.nn.functional as F
from minidl import distributed, nn, optim
from minidl.nn.parallel import DistributedDataParallel
from minidl.utils.data import DataLoader, DistributedSampler, Subset
from minidl.vision import datasets, transforms


class Net(nn.Module):
    """conv 3x3 to 32, ReLU, max-pool, conv 3x3 to 64, ReLU, max-pool, linear to 512, ReLU, linear to 10."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.fc1 = nn.Linear(64 * 8 * 8, 512)
        self.fc2 = nn.Linear(512, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)  # (N, 3, 32, 32) -> (N, 32, 16, 16)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)  # -> (N, 64, 8, 8)
        x = F.relu(self.fc1(x.flatten(1)))  # -> (N, 512)
        return self.fc2(x)  # -> (N, 10): a score for each class


TO_INPUT = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))])  # [-1, 1]


TO_TRAIN = TO_INPUT  # nothing more for the training set

tell = distributed.get_logger("examples").info  # print, but of several ranks only the first does


def load_checkpoint(path):
    """What a `Training` has saved; the program ends if there is no such thing."""
    try:
        state = minidl.Checkpoints(path).load()
    except (OSError, RuntimeError) as error:
        sys.exit(f"checkpoint: {error}")
    if not isinstance(state, dict) or not {"model", "classes", "settings"} <= set(state):
        sys.exit(f"checkpoint: {path} holds something else than what examples/cifar10.py saves")
    return state


def find_data(folder, to_train):
    """Training and test set: CIFAR-10 if it is on disk or can be downloaded, else the embedded pictures.

    If a folder was asked for, it must be CIFAR-10. ``to_train`` is the transform of the training set.
    """
    kinds = (True, to_train), (False, TO_INPUT)
    asked, folder = folder is not None, folder or "data"
    if folder != "embedded":
        for download in (False, True):
            try:
                sets = [datasets.CIFAR10(folder, train=train, transform=to, download=download) for train, to in kinds]
            except (RuntimeError, OSError) as error:
                reason = error
            else:
                tell(f"Data: CIFAR-10 from {folder}.")
                return sets
        if asked:
            sys.exit(f"--data {folder}: {reason}")
        tell(f"{reason}\nData: CIFAR-10 is not at hand, so these are the pictures that minidl draws itself.")
    else:
        tell("Data: the pictures that minidl draws itself (--data FOLDER for CIFAR-10).")
    return [datasets.Shapes(train=train, transform=to) for train, to in kinds]


class Interrupt:
    """Ctrl-C noted, to be obeyed between two steps, when everything can be saved; a second Ctrl-C stops at once."""

    def __init__(self):
        self.wanted = False
        signal.signal(signal.SIGINT, self.note)

    def note(self, *_):
        if self.wanted:
            raise KeyboardInterrupt
        self.wanted = True


class Training:
    """Network, optimiser and loader, with all that is needed to go on later as if nothing had happened.

    With several ranks each has its part of every batch, and they take one step together.
    """

    checks = ("batch_size", "lr", "momentum", "seed")  # the settings that must stay the same in a run that goes on

    def __init__(self, args, train_set):
        minidl.manual_seed(args.seed)
        self.rank, self.ranks = 0, 1
        if distributed.is_initialized():
            self.rank, self.ranks = distributed.get_rank(), distributed.get_world_size()
        self.device = minidl.device(args.device)
        if args.batch_size % self.ranks:
            sys.exit(f"--batch-size {args.batch_size} cannot be shared out evenly among {self.ranks} ranks")
        sampler = DistributedSampler(train_set, self.ranks, self.rank, seed=args.seed) if self.ranks > 1 else None
        self.loader = DataLoader(
            train_set,
            args.batch_size // self.ranks,
            shuffle=sampler is None,
            sampler=sampler,
            num_workers=args.workers,
            generator=minidl.Generator().manual_seed(args.seed + self.rank),  # of changes to pictures: others on each rank
        )
        self.build(args)
        self.forward = minidl.compile(self.net) if args.compile else self.net
        if self.ranks > 1:
            self.forward = DistributedDataParallel(self.forward)
        self.accumulate, self.keep, self.save_every, self.checkpoint = (
            args.accumulate,
            args.keep,
            args.save_every,
            args.checkpoint,
        )
        self.criterion = nn.CrossEntropyLoss()
        self.settings = {name: getattr(args, name) for name in self.checks}
        self.epoch, self.history = 0, []
        self.running = [0.0, 0, 0]  # of the epoch under way: summed loss, right answers, pictures

    def build(self, args):
        """The network and its optimiser; and all else that learns goes into ``parts``, to be saved by its name."""
        self.net = Net().to(self.device)
        self.optimizer = optim.SGD(self.net.parameters(), lr=args.lr, momentum=args.momentum)
        self.parts = {"model": self.net, "optimizer": self.optimizer}
        self.judged = self.net  # the network that is tested

    def save(self, path):
        """One file for all ranks; what differs between them is in it for each."""
        own = {"loader": self.loader.state_dict(), "random": minidl.get_rng_state(), "running": self.running}
        everyone = [own]
        if self.ranks > 1:
            everyone *= self.ranks
            distributed.all_gather_object(everyone, own)
        if self.rank > 0:
            return
        state = {
            **{name: part.state_dict() for name, part in self.parts.items()},
            "ranks": everyone,
            "settings": self.settings,
            "epoch": self.epoch,
            "history": self.history,
            "classes": list(getattr(self.loader.dataset, "classes", range(10))),
        }
        try:
            minidl.Checkpoints(path, self.keep).save(state)
        except OSError as error:  # a full disk, for example
            sys.exit(f"{error}")

    def load(self, path):
        state = load_checkpoint(path)
        changed = {k: v for k, v in self.settings.items() if state["settings"][k] != v}
        if changed:
            sys.exit(f"{path} was trained with {state['settings']}; give the same values, or leave out --resume")
        if len(state["ranks"]) != self.ranks:
            sys.exit(f"{path} was trained by {len(state['ranks'])} ranks, these are {self.ranks}")
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
        own = state["ranks"][self.rank]
        self.loader.load_state_dict(own["loader"])
        minidl.set_rng_state(own["random"])
        self.epoch, self.running, self.history = state["epoch"], own["running"], state["history"]

    def step(self, images, labels):
        """One step of gradient descent, through some parts of the batch after another; the loss and the right answers."""
        self.optimizer.zero_grad()
        total, right = 0.0, 0
        parts = [*zip(images.to(self.device).chunk(self.accumulate), labels.to(self.device).chunk(self.accumulate))]
        for i, (some, answers) in enumerate(parts):
            with self.forward.no_sync() if self.ranks > 1 and i < len(parts) - 1 else contextlib.nullcontext():
                scores = self.forward(some)
                loss = self.criterion(scores, answers)
                if len(parts) > 1:
                    loss = loss * (len(answers) / len(labels))
            loss.backward()
            total += loss.item()
            right += (scores.argmax(1) == answers).sum().item()
        self.optimizer.step()
        return total, right

    def anywhere(self, wanted):
        """Whether one of the ranks wants it: all must leave a loop together."""
        if self.ranks == 1:
            return wanted
        answer = minidl.tensor(int(wanted), device=self.device)
        distributed.all_reduce(answer, distributed.ReduceOp.MAX)
        return bool(answer.item())

    def run_epoch(self, interrupt, bar):
        """Train to the end of the epoch; False if interrupted before."""
        if self.ranks > 1:
            self.loader.sampler.set_epoch(self.epoch)
        for number, (images, labels) in enumerate(self.loader, 1):
            loss, right = self.step(images, labels)
            n = len(labels)
            self.running = [self.running[0] + loss * n, self.running[1] + right, self.running[2] + n]
            bar.update(n * self.ranks)
            bar.set_postfix(
                loss=f"{self.running[0] / self.running[2]:.3f}", accuracy=f"{self.running[1] / self.running[2]:.1%}"
            )
            within = self.running[2] < len(self.loader.sampler)
            if self.anywhere(interrupt.wanted) and within:
                return False
            if self.save_every and number % self.save_every == 0 and within:
                self.save(self.checkpoint)
        self.epoch += 1
        return True


@minidl.no_grad()
def predict(net, data, device="cpu"):
    """The scores of all pictures in ``data``, and their labels."""
    training = net.training
    net.eval()
    scores, labels = zip(*((net(x.to(device)), y) for x, y in DataLoader(data, 500, num_workers=1)))
    net.train(training)
    return minidl.cat(scores).cpu(), minidl.cat(labels)


def summed(*numbers, device="cpu"):
    """The sums of numbers over all ranks."""
    found = minidl.tensor(numbers, dtype=minidl.float64, device=device)
    if distributed.is_initialized():
        distributed.all_reduce(found)
    return found.tolist()


def evaluate(net, data, device):
    """Mean loss and share of right answers; of several ranks each looks at a part."""
    if distributed.is_initialized():
        for buffer in net.buffers():  # running means, which each rank has of its own pictures
            distributed.broadcast(buffer, src=0)
        data = Subset(data, range(distributed.get_rank(), len(data), distributed.get_world_size()))
    scores, labels = predict(net, data, device)
    n, right = len(labels), (scores.argmax(1) == labels).sum().item()
    loss, right, n = summed(F.cross_entropy(scores, labels).item() * n, right, n, device=device)
    return loss / n, right / n


def draw_curves(history, path):
    """Loss and accuracy, training and test, against the epoch."""
    epochs = [h["epoch"] for h in history]
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.5))
    for axis, what in zip(axes, ("loss", "accuracy")):
        axis.plot(epochs, [h[f"train_{what}"] for h in history], "o-", label="training (mean over the epoch)")
        axis.plot(epochs, [h[f"test_{what}"] for h in history], "o-", label="test (after the epoch)")
        axis.set(xlabel="epoch", ylabel=what)
        axis.grid(alpha=0.3)
    axes[0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def draw_filters(conv, path):
    """The filters of the first layer, as little pictures."""
    weight = conv.weight.detach().cpu().numpy()
    weight = (weight - weight.min((1, 2, 3), keepdims=True)) / np.ptp(weight, (1, 2, 3), keepdims=True)
    figure, axes = plt.subplots(len(weight) // 8, 8, figsize=(6, len(weight) / 10))
    for axis, w in zip(axes.flat, weight):
        axis.imshow(w.transpose(1, 2, 0))
        axis.axis("off")
    figure.suptitle("First-layer filters")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def draw_answers(images, scores, labels, classes, path):
    """Two rows of right answers and two of wrong ones, each with its probability."""
    answers = scores.argmax(1).numpy()
    sure = F.softmax(scores, 1).numpy()
    right = answers == labels.numpy()
    figure, axes = plt.subplots(4, 8, figsize=(12, 7.2))
    for axis in axes.flat:
        axis.axis("off")
    for rows, chosen in ((axes[:2], np.flatnonzero(right)), (axes[2:], np.flatnonzero(~right))):
        for axis, i in zip(rows.flat, chosen):
            axis.imshow(images[i])
            title = f"{classes[answers[i]]} {sure[i, answers[i]]:.0%}"
            axis.set_title(
                title if right[i] else f"{title}\nis {classes[labels[i].item()]}",
                fontsize=8,
                color="green" if right[i] else "red",
            )
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def report(training, test_set, args):
    """Accuracy by class, and the pictures."""
    scores, labels = predict(training.judged, test_set, training.device)
    whole = test_set.dataset if isinstance(test_set, Subset) else test_set
    right = (scores.argmax(1) == labels).numpy()
    tell("\nAccuracy by class on the test set:")
    for i, name in enumerate(whole.classes):
        mine = labels.numpy() == i
        tell(f"  {name:<12} {right[mine].mean() if mine.any() else float('nan'):6.1%}")
    out = Path(args.output)
    if training.history:
        draw_curves(training.history, out / "curves.png")
    draw_filters(training.net.conv1, out / "filters.png")
    draw_answers(whole.data, scores, labels, whole.classes, out / "answers.png")
    tell(f"Pictures: {out}/curves.png, filters.png, answers.png")


def parser(description, epochs, batch_size, lr, checkpoint):
    """Of the command line, with these defaults."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--epochs", type=int, default=epochs, help=f"passes over the training set ({epochs})")
    made.add_argument("--batch-size", type=int, default=batch_size, help=f"pictures in a step ({batch_size})")
    made.add_argument("--lr", type=float, default=lr, help=f"learning rate ({lr})")
    made.add_argument("--momentum", type=float, default=0.9, help="of SGD (0.9)")
    made.add_argument("--accumulate", type=int, default=1, help="parts to go through a batch in, for less memory (1)")
    made.add_argument("--backend", choices=["mpi", "nccl"], help="what carries gradients from rank to rank (mpi)")
    made.add_argument("--device", default="cpu", help="where to compute (cpu)")
    made.add_argument("--compile", action="store_true", help="fuse the network's ops with minidl.compile")
    made.add_argument("--data", help="folder with cifar-10-batches-py/, or 'embedded' (default: data, then embedded)")
    made.add_argument("--seed", type=int, default=1)
    made.add_argument("--workers", type=int, default=2, help="threads that prepare batches ahead")
    made.add_argument("--checkpoint", default=checkpoint, help="file to save to after every epoch")
    made.add_argument("--save-every", type=int, default=0, help="and after so many steps within an epoch (0: not there)")
    made.add_argument("--keep", type=int, default=2, help="checkpoints to keep, the newest and those before it (2)")
    made.add_argument("--resume", action="store_true", help="go on from the checkpoint")
    made.add_argument("--output", default="runs", help="folder for the pictures")
    made.add_argument("--smoke", action="store_true", help="a few steps only, to see that everything works")
    return made


def options():
    """The command line of this example."""
    return parser(__doc__, epochs=10, batch_size=100, lr=0.001, checkpoint="runs/cifar10.safetensors")


def run(args, training_type, to_train):
    """Train as the command line says, and report."""
    distributed.init_process_group(args.backend)  # alone, unless MPI has started several
    rank, ranks = distributed.get_rank(), distributed.get_world_size()
    try:  # what cannot work is better known before the training than after it
        minidl.manual_seed(args.seed)
        minidl.zeros(1, device=args.device)
        Path(args.output).mkdir(parents=True, exist_ok=True)
        Path(args.checkpoint).parent.mkdir(parents=True, exist_ok=True)
        if Path(args.checkpoint).is_dir():
            raise IsADirectoryError(f"--checkpoint {args.checkpoint} is a folder; give the name of a file")
    except (RuntimeError, OSError, ValueError) as error:
        sys.exit(f"{error}")
    least_of = {"batch_size": 1, "keep": 1, "save_every": 0}
    for option, least in least_of.items():
        if (value := getattr(args, option)) < least:
            sys.exit(f"--{option.replace('_', '-')} must be at least {least}, got {value}")
    if rank > 0:
        distributed.barrier()  # one downloads, if need be, and the others find it done
    train_set, test_set = find_data(args.data, to_train)
    if rank == 0:
        distributed.barrier()
    if args.smoke:
        train_set, test_set, args.epochs = Subset(train_set, range(300)), Subset(test_set, range(200)), min(args.epochs, 2)
    training = training_type(args, train_set)
    if args.resume:
        training.load(args.checkpoint)
        begun = f" and {training.running[2] * ranks:,} pictures of the next" if training.running[2] else ""
        tell(f"Going on from {args.checkpoint}: {training.epoch} epochs{begun} done.")
    tell(f"{sum(p.numel() for p in training.net.parameters()):,} parameters, {len(train_set):,} pictures, seed {args.seed}.")
    if ranks > 1:
        tell(f"{ranks} ranks; each has {args.batch_size // ranks} pictures of a batch and {minidl.get_num_threads()} threads.")
    interrupt = Interrupt()
    while training.epoch < args.epochs:
        started, before = time.perf_counter(), training.running[2]
        # disable=None: no bar in a log file, where the line after each epoch is enough
        with tqdm(
            total=len(train_set),
            initial=before * ranks,
            unit=" images",
            desc=f"epoch {training.epoch + 1}",
            leave=False,
            disable=rank > 0 or None,
        ) as bar:
            finished = training.run_epoch(interrupt, bar)
        if not finished:
            training.save(args.checkpoint)
            tell(f"\nStopped in epoch {training.epoch + 1}, saved to {args.checkpoint}. Go on: the same command and --resume.")
            return
        seconds = time.perf_counter() - started
        loss, right, n = summed(*training.running, device=training.device)
        speed = (n - before * ranks) / seconds
        training.running = [0.0, 0, 0]
        test_loss, test_accuracy = evaluate(training.judged, test_set, training.device)
        training.history.append(
            {
                "epoch": training.epoch,
                "train_loss": loss / n,
                "train_accuracy": right / n,
                "test_loss": test_loss,
                "test_accuracy": test_accuracy,
            }
        )
        training.save(args.checkpoint)
        tell(
            f"epoch {training.epoch:2d}/{args.epochs}  training: loss {loss / n:.3f} accuracy {right / n:.1%}"
            f"  test: loss {test_loss:.3f} accuracy {test_accuracy:.1%}  {seconds:.1f} s, {speed:,.0f} images/s"
        )
    if rank == 0:
        report(training, test_set, args)


if __name__ == "__main__":
    run(options().parse_args(), Training, TO_TRAIN)

"""Kill a process with SIGKILL at random moments, again and again: nothing may be lost, and nothing half-written read.

    python benchmarks/faults.py               # a hundred times each, some minutes; writes docs/faults-results.md
    python benchmarks/faults.py --smoke       # a few times

Four things are killed. After each kill all files that are there under their own names must be whole; what is half-written may
only be there under a name that nobody reads.

training
    A network with batch normalisation and dropout, Adam, a schedule, and a loader with threads and random changes to the
    pictures. It saves after every step, and the killed process is followed by one that goes on. What the last one saves must be
    the file of an unbroken run, byte for byte: weights, optimiser, schedule, generators and the loader's place.
checkpointing
    `minidl.Checkpoints` in a loop. All that it keeps must be whole, and the newest never older than before.
downloading
    CIFAR-10 (a small one) from a server on this machine that takes its time.
extracting
    The archive of the same.
"""

import argparse
import hashlib
import http.server
import io
import os
import random
import shutil
import signal
import sys
import tarfile
import tempfile
import time
import warnings
from pathlib import Path

import environment
import numpy as np
from environment import head, row

import minidl
import minidl.nn.functional as F
from minidl import nn, optim
from minidl.utils.data import DataLoader
from minidl.vision import datasets, transforms
from minidl.vision.datasets import cifar

STEPS = 40  # of a training run: five epochs
LONGEST = 0.4  # seconds until a process is killed


class Lost(Exception):
    """Something that must not happen; says what."""


# -- training


def train(folder):
    """From the newest checkpoint to the end."""
    minidl.manual_seed(1)
    changes = transforms.Compose([transforms.RandomHorizontalFlip(), transforms.RandomCrop(32, 4), transforms.ToTensor()])
    pictures = datasets.Shapes(size=64, transform=changes)
    loader = DataLoader(pictures, 8, shuffle=True, num_workers=2, generator=minidl.Generator().manual_seed(2))
    net = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(4), nn.Flatten()),
        *(nn.Linear(128, 64), nn.Dropout(0.5), nn.ReLU(), nn.Linear(64, 10)),
    )
    optimizer = optim.AdamW(net.parameters(), 1e-3)
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    parts = {"net": net, "optimizer": optimizer, "schedule": schedule, "loader": loader}
    run, done = minidl.Checkpoints(folder / "run", keep=3), 0
    if (folder / "run").exists() or (folder / "run.1").exists():
        state = run.load()
        for name, part in parts.items():
            part.load_state_dict(state[name])
        minidl.set_rng_state(state["random"])
        done = state["done"]
    while done < STEPS:
        for images, labels in loader:
            optimizer.zero_grad()
            F.cross_entropy(net(images), labels).backward()
            optimizer.step()
            schedule.step()
            done += 1
            state = {name: part.state_dict() for name, part in parts.items()}
            run.save({**state, "random": minidl.get_rng_state(), "done": done})
    shutil.copy(folder / "run", folder / "end.tmp")
    os.rename(folder / "end.tmp", folder / "end")


class Training:
    """Runs that are killed and go on, beside one that is not."""

    def __init__(self, folder):
        self.folder, self.unbroken, self.runs, self.done = folder / "killed", folder / "unbroken", 0, 0
        self.unbroken.mkdir()
        self.folder.mkdir()
        until_it_ends(train, self.unbroken)

    def work(self):
        train(self.folder)

    def look(self):
        self.done = newest_of(self.folder, "done", self.done)
        if (self.folder / "end").exists():
            if (self.folder / "end").read_bytes() != (self.unbroken / "end").read_bytes():
                raise Lost("a run that was killed and went on is not the unbroken one")
            self.runs, self.done = self.runs + 1, 0
            shutil.rmtree(self.folder)
            self.folder.mkdir()

    def end(self):
        while not self.runs or self.done:  # the last run too is compared
            until_it_ends(self.work)
            self.look()
        return f"{self.runs} runs, each the unbroken one to the last byte"


# -- checkpointing


def newest_of(folder, key, before):
    """How far the newest checkpoint is: all that there are must be whole, and one follow on the other."""
    found = [minidl.load(folder / name)[key] for name in ("run", "run.1", "run.2") if (folder / name).exists()]
    if found != sorted(found, reverse=True) or (found and found[0] < before):
        raise Lost(f"checkpoints of {found}, before that one of {before}")
    return found[0] if found else before


class Checkpointing:
    """Nothing but saving, some megabytes each time."""

    def __init__(self, folder):
        self.folder, self.newest = folder, 0

    def work(self):
        run, i = minidl.Checkpoints(self.folder / "run", keep=3), self.newest
        while True:
            i += 1
            run.save({"i": i, "t": minidl.full((500_000,), float(i))})

    def look(self):
        self.newest = newest_of(self.folder, "i", self.newest)
        if self.newest and not (minidl.Checkpoints(self.folder / "run").load()["t"] == self.newest).all():
            raise Lost("a checkpoint holds something else than was saved")

    def end(self):
        return f"{self.newest} checkpoints, none of them half-written"


# -- downloading and extracting


def published(path):
    """A small CIFAR-10, as its site has it; returns the content of its files."""
    rng, content = np.random.default_rng(0), {}
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        pictures, labels = rng.integers(0, 256, (200, 3072), np.uint8).tobytes(), bytes(rng.integers(0, 10, 200, np.uint8))
        array = (
            b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR(K\x01K\xc8M\x00\x0c\x86cnumpy\ndtype\n"
        )
        array += b"(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T" + (600 * 1024).to_bytes(
            4, "little"
        )
        listed = b"".join(b"K" + bytes([label]) for label in labels)
        content[name] = b"\x80\x02}(U\x06labels](" + listed + b"eU\x04data" + array + pictures + b"tbu."
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, data in content.items():
            member = tarfile.TarInfo(f"{cifar.FOLDER}/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    cifar.MD5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    return content


class Slow(http.server.BaseHTTPRequestHandler):
    """Sends the archive bit by bit."""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        for start in range(0, len(self.server.archive), 1 << 16):
            self.wfile.write(self.server.archive[start : start + (1 << 16)])
            time.sleep(0.001)

    def log_message(self, *_):
        pass


class Downloading:
    """The archive from a server, a process of its own."""

    def __init__(self, folder):
        self.folder, self.whole = folder, 0
        self.content = published(folder / "published")
        self.archive = (folder / "published").read_bytes()
        server = http.server.HTTPServer(("127.0.0.1", 0), Slow)
        server.archive = self.archive
        server.handle_error = lambda *_: None  # whom it answers is killed
        cifar.URL = f"http://127.0.0.1:{server.server_port}/"
        self.server = child(server.serve_forever)
        server.server_close()

    def work(self):
        datasets.CIFAR10(self.folder, download=True)

    def look(self):
        folder, tarball = self.folder / cifar.FOLDER, self.folder / cifar.TARBALL
        if tarball.exists() and tarball.read_bytes() != self.archive:
            raise Lost("a half-written archive")
        if folder.exists():
            if {path.name: path.read_bytes() for path in folder.iterdir()} != self.content:
                raise Lost("a half-written folder")
            self.whole += 1
            self.clear()
        for left in (*self.folder.glob(f"{cifar.FOLDER}.*"), *self.folder.glob("*.tmp")):  # or the disk would fill
            shutil.rmtree(left) if left.is_dir() else left.unlink()

    def clear(self):
        shutil.rmtree(self.folder / cifar.FOLDER)
        (self.folder / cifar.TARBALL).unlink()

    def end(self):
        until_it_ends(self.work)
        self.look()
        stop(self.server)
        return f"{self.whole} times all of it, otherwise nothing"


class Extracting(Downloading):
    """The archive is there, and not the folder."""

    def __init__(self, folder):
        super().__init__(folder)
        (self.folder / cifar.TARBALL).write_bytes(self.archive)

    def work(self):
        datasets.CIFAR10(self.folder)

    def clear(self):
        shutil.rmtree(self.folder / cifar.FOLDER)


# -- processes


living = set()  # the numbers of all that have not ended yet


def child(work, *args):
    """A process of its own that does some work, from where this one is; returns its number."""
    number = os.fork()
    if number:
        living.add(number)
        return number
    code = 1
    try:
        work(*args)
        code = 0
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(code)


def status_of(number):
    """Wait until it has ended."""
    status = os.waitpid(number, 0)[1]
    living.remove(number)
    return status


def until_it_ends(work, *args):
    if status_of(child(work, *args)):
        raise Lost("a process that was not killed failed")


def stop(number):
    """Kill it; whether it had not ended by itself."""
    os.kill(number, signal.SIGKILL)
    status = status_of(number)
    if status not in (0, signal.SIGKILL):
        raise Lost(f"a process ended by itself with {status}")
    return status == signal.SIGKILL


def kill_again_and_again(kind, kills, moments):
    """What was found; a line of the table."""
    with tempfile.TemporaryDirectory() as folder:
        what, killed = kind(Path(folder)), 0
        while killed < kills:
            number = child(what.work)
            time.sleep(moments.uniform(0, LONGEST))
            killed += stop(number)
            what.look()
        return row(kind.__name__.lower(), what.end(), killed)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="of each (100)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--output", help="file for the table (default: docs/faults-results.md)")
    parser.add_argument("--smoke", action="store_true", help="three kills of each")
    args = parser.parse_args()
    if not hasattr(os, "fork"):
        sys.exit("faults: wants a system with fork and SIGKILL")
    warnings.simplefilter("error")  # a damaged checkpoint would be passed over with a warning
    kills, moments = 3 if args.smoke else args.kills, random.Random(args.seed)
    lines = head("what was killed", "what was found", "kills")
    for kind in (Training, Checkpointing, Downloading, Extracting):
        try:
            lines.append(kill_again_and_again(kind, kills, moments))
        except (Lost, OSError, RuntimeError, UserWarning) as error:
            sys.exit(f"{kind.__name__}: {error}")
        finally:
            for number in list(living):
                stop(number)
        print(lines[-1], flush=True)
    output = args.output or (None if args.smoke else environment.DOCS / "faults-results.md")
    if output:
        environment.write(output, lines)


if __name__ == "__main__":
    main()

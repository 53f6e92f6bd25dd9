"""Whole training steps on a GPU in every way that minidl and PyTorch have: a stage of gpu_check.py.

The data is on the device, the optimiser is part of the step, and nothing waits. minidl runs a step as it is written and
captured as one CUDA graph (`minidl.compile`); PyTorch as it is written and by ``torch.compile(mode="reduce-overhead")``,
which captures the network but not the optimiser; both once more in bfloat16 (PyTorch with channels last), and those on
CIFAR-10's pictures with TF32. All ways start from the same weights, and the losses of their first steps are compared.
"""

import contextlib
import importlib
import os
import tempfile

import numpy as np

from . import given, gpt, networks

CLOSE = {"float32": 1e-3, "TF32": 1e-2, "bfloat16": 5e-2}  # of losses, in relation to the largest: orders of sums, and bits
PROVED = 4  # steps whose losses are compared: the last of minidl's is a graph's


def fill(lib, net):
    """The same weights on every side; norms start at 1, biases at 0."""
    rng = np.random.default_rng(0)
    for name, p in net.named_parameters():
        shape = tuple(p.shape)
        if len(shape) > 1:
            drawn = rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))
            p.data = lib.from_numpy(drawn.astype(np.float32))
        elif "bias" in name:
            p.data = lib.from_numpy(np.zeros(shape, np.float32))
    return net


def pictures(make, batch):
    """A network on pictures of CIFAR-10's size, its batch, and its optimiser."""

    def case(lib, small):
        return fill(lib, make(lib)), given.batch("cifar", 2 if small else batch), ("SGD", {"lr": 0.001, "momentum": 0.9})

    return case


def characters(lib, small):
    """The network of examples/char_rnn.py."""
    nn, vocabulary, width, shape = lib.nn, 96, 256, (2, 4) if small else (32, 128)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.head = nn.Embedding(vocabulary, width), nn.Linear(width, vocabulary)
            self.layer = nn.LSTM(width, width, batch_first=True)

        def forward(self, tokens):
            return self.head(self.layer(self.table(tokens))[0]).flatten(0, 1)

    x, y = np.random.default_rng(1).integers(0, vocabulary, (2, *shape))
    return fill(lib, Net()), (x, y.ravel()), ("Adam", {"lr": 1e-3})


def a_gpt(lib, small):
    """The network of examples/gpt.py."""

    class Net(lib.nn.Module):
        def __init__(self):
            super().__init__()
            self.net, _ = gpt.network(lib.__name__, gpt.LENGTH)

        def forward(self, tokens):
            return self.net(tokens).flatten(0, 1)

    tokens = np.random.default_rng(1).integers(0, gpt.VOCABULARY, (1 if small else 16, gpt.LENGTH + 1))
    return Net(), (np.ascontiguousarray(tokens[:, :-1]), tokens[:, 1:].ravel()), ("AdamW", {"lr": 1e-3})


CASES = {
    "CIFAR network, batch 100": pictures(networks.cifar_network, 100),
    "CIFAR network, batch 1024": pictures(networks.cifar_network, 1024),
    "ResNet-20, batch 128": pictures(networks.resnet20, 128),
    "LSTM on characters, 32 x 128": characters,
    "GPT, 4 layers, 16 x 128 tokens": a_gpt,
}


PICTURES = list(CASES)[:2]  # the network whose times have a bar
OTHERS = list(CASES)[2:]


class Step:
    """A training step of a case in a library, in one way ("as written", "captured", "reduce-overhead"), perhaps in bfloat16."""

    def __init__(self, library, device, title, small, way, half):
        lib = importlib.import_module(library)
        net, (x, y), (optimizer, options) = CASES[title](lib, small)
        net, x, y = net.to(device), lib.from_numpy(x).to(device), lib.from_numpy(y).to(device)
        if half and library == "torch" and x.ndim == 4:
            net, x = net.to(memory_format=lib.channels_last), x.to(memory_format=lib.channels_last)
        opt = getattr(lib.optim, optimizer)(net.parameters(), **options)
        forward = lib.compile(net, mode="reduce-overhead") if way == "reduce-overhead" else net

        def step(x, y):
            opt.zero_grad()
            with lib.autocast(device, lib.bfloat16) if half else contextlib.nullcontext():
                loss = lib.nn.functional.cross_entropy(forward(x), y)
            loss.backward()
            opt.step()
            return loss

        step = lib.compile(step) if way == "captured" else step
        self.lib, self.step, self.given, self.way = lib, step, (x, y), way

    def __call__(self):
        return self.step(*self.given)

    def losses(self):
        """Those of the first steps; a step that should be a graph and is none is an error."""
        found = [self().item() for _ in range(PROVED)]
        if self.way == "captured" and "captured as a CUDA graph" not in self.lib.compiler.explain(self.step):
            raise RuntimeError(f"not captured: {self.lib.compiler.explain(self.step)}")
        return found


def ways(sides, small):
    """Library, way and whether it is in bfloat16, by name; what the libraries that are there can do."""
    found = {"minidl": ("minidl", "as written", False), "minidl captured": ("minidl", "captured", False)}
    if not small:
        found["minidl captured, bf16"] = "minidl", "captured", True
    if "PyTorch" in sides:
        found["PyTorch"] = "torch", "as written", False
        if sides["PyTorch"][2] == "cuda":
            found["PyTorch bf16, channels last"] = "torch", "as written", True
    return found


def compare(found, losses, precision):
    """The largest difference from the losses of PyTorch, or of the step as it is written, and whether all are near enough."""
    if not losses:
        return {"ok": False}
    wanted = np.array(next(losses[name] for name in ("PyTorch", "minidl", *losses) if name in losses))
    away = {name: float(np.abs(np.array(own) - wanted).max() / np.abs(wanted).max()) for name, own in losses.items()}
    ok = all(difference <= CLOSE["bfloat16" if found[name][2] else precision] for name, difference in away.items())
    return {"ok": ok, "largest difference": max(away.values()), "differences": away}


def measure(sides, found, title, small, milliseconds, precision="float32"):
    """A row: all ways of a case, in turns, and how long the captured one takes in relation to PyTorch's.

    A way that fails is named, and the others are timed; only minidl's make the row a failure.
    """
    steps, losses, broken = {}, {}, {}
    for name, (library, *way) in found.items():
        try:
            step = Step(library, _device(sides, library), title, small, *way)
            losses[name] = step.losses()
            steps[name] = step
        except Exception as error:
            broken[name] = f"{type(error).__name__}: {error}"[:600]
    libraries = {name: (step.lib, None, _device(sides, found[name][0])) for name, step in steps.items()}
    makers = {name: lambda step=step: step for name, step in steps.items()}
    ms = milliseconds(libraries, makers, *((1, 0) if small else (5, 0.4)))
    first, others = ms.get("minidl captured"), [name for name in ms if name.startswith("PyTorch")]
    ratios = {name: round(first / ms[name], 3) for name in others if first}
    row = {**compare(found, losses, precision), "ms": ms, "ratio": ratios.get("PyTorch"), "captured / others": ratios}
    if broken:
        row |= {"ok": row["ok"] and not any(found[name][0] == "minidl" for name in broken), "broken": broken}
    return row


def measure_in_tf32(sides, found, *args):
    """The same, where tensor cores may round to TF32; the switches count for all ways, so they are set around the row."""
    backends = [lib.backends for lib in {side[0] for side in sides.values()}]
    exact = {name: way for name, way in found.items() if not way[2]}
    try:
        for backend in backends:
            backend.cudnn.allow_tf32 = backend.cuda.matmul.allow_tf32 = True
        return measure(sides, exact, *args, "TF32")
    finally:
        for backend in backends:
            backend.cudnn.allow_tf32 = backend.cuda.matmul.allow_tf32 = False


def _device(sides, library):
    return sides["PyTorch" if library == "torch" else "minidl"][2]


def run(sides, small, tried, milliseconds, titles):
    """Rows of these cases; those with torch.compile, which takes long to begin, come last."""
    found = ways(sides, small)
    for title in titles[: 1 if small else None]:
        tried("steps", title, lambda: measure(sides, found, title, small, milliseconds))  # noqa: B023
    if "PyTorch" not in sides or sides["PyTorch"][2] != "cuda":
        return
    for title in [title for title in titles if title in PICTURES]:
        tried("steps", f"{title}, TF32", lambda: measure_in_tf32(sides, found, title, small, milliseconds))  # noqa: B023
    two = {"minidl captured": found["minidl captured"], "minidl": found["minidl"]}
    two["PyTorch reduce-overhead"] = "torch", "reduce-overhead", False
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as cache:  # to which processes of PyTorch may still write
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache  # of this process
        for title in titles:
            name = f"{title}, torch.compile"
            tried("steps", name, lambda: measure(sides, two, title, small, milliseconds))  # noqa: B023

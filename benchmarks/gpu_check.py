"""Everything there is to check and to time on a machine with an NVIDIA GPU, in one command and less than eight minutes.

    python benchmarks/gpu_check.py                  # writes gpu_check.json and says in short what is in it
    python benchmarks/gpu_check.py --seconds 200    # as much as fits
    python benchmarks/gpu_check.py --smoke          # only to see that it runs: small, and on a stand-in where there is no GPU

It wants CuPy, NumPy, pytest and Hypothesis; beside PyTorch, where that is installed, results are compared and steps are timed.
minidl need not be installed, nor what else it wants (for that there is the folder bare; then files are not tested). Nothing is
downloaded, and no setting of the machine or the GPU is changed. The stages, each a process of its own, so that one that breaks
leaves the others alone:

* bars: what has a bar, for which a hundred seconds are enough: whole training steps of the CIFAR-10 network, as written,
  captured as a graph, by torch.compile, in TF32 and bfloat16; and how far products are from float64 in each precision;
* kernels: CUDA kernels against what defines them, products by cublasLt, steps captured as CUDA graphs (tests/test_cuda_*.py);
* gradients: ops on the GPU against finite differences, to order two;
* parity: values and gradients of layers against those of PyTorch in float64, and the losses of twenty training steps;
* times: the same layers and steps, forward and backward, in turns; float32 without TF32 on both sides, and once more with it;
  products of matrices also by minidl's own kernel, which stands in for cublasLt where that is not;
* kernel_times: what the GPU's time goes to in a step, kernel by kernel;
* steps: whole training steps of three more networks;
* suite: the tests of the whole library on the device "cuda", as many as time allows.

Each row is written down as soon as it is there, so whatever ends this program, what was found out is kept. Ctrl-C (and a
SIGTERM) means that the time is over. What spoils a process, or hangs, is one row; the rows after it come from a new one.

The exit status is 0 if all that was checked is right. What takes too long is stopped and named, and is no failure.
"""

import argparse
import importlib.metadata
import json
import platform
import signal
import statistics
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

from sides import gpu_processes
from sides.gpu_processes import clock, report, tried

LACKING = [
    f"gpu_check: {name} is not installed; pip install {name}"
    for name in ("numpy", "pytest", "hypothesis")
    if not find_spec(name)
]
sys.path[:0] = gpu_processes.PATHS

if not find_spec("numpy"):
    sys.exit(LACKING[0])
import environment
import numpy as np
from sides import given, gpu_kernels, gpu_precision, gpu_steps
from sides.gpu_layers import LAYERS

SHARES = {  # of the time, at most
    "bars": 0.7, "kernels": 0.22, "kernel_times": 0.15, "gradients": 0.1, "parity": 0.12, "steps": 0.2, "times": 0.2,
    "suite": 1.0,
}  # fmt: skip
KERNELS = [
    f"test_cuda_{name}.py" for name in ("kernels", "capture", "conv_pool", "attention", "traced", "recurrent", "products")
]
SUITE = [  # the most telling first
    ["test_cuda.py", "test_amp.py", "test_pictures.py"],
    ["test_ops_network.py", "test_ops_elementwise.py", "test_ops_reduce.py", "test_ops_linear.py", "test_ops_layout.py"],
    ["test_conv.py", "test_pool.py", "test_norm.py", "test_losses.py", "test_embedding.py", "test_optim.py", "test_resize.py"],
    ["test_compile.py", "test_nn.py", "test_nn_functional.py", "test_activations.py", "test_recurrent.py"],
    ["test_attention.py", "test_models.py"],
    ["test_tensor.py", "test_functions.py", "test_inplace.py", "test_autograd.py", "test_errors.py", "test_serialization.py"],
]
TOLERANCE = {"float32": 1e-5, "float64": 1e-10}  # of the largest number, against PyTorch in float64
PRODUCTS = [(100, 4096, 512), (100, 512, 10), (1024, 4096, 512), (4096, 4096, 4096)]  # (M, K) @ (K, N); the first two are small


def tensors(library, device, what, dtype, seed=0, wide=False):
    """Tensors of one library; numbers with a fraction want gradients. For ``wide`` see `normal`."""
    rng, made = np.random.default_rng(seed), []
    for shape in what:
        if isinstance(shape[-1], tuple):
            made.append(library.tensor(rng.integers(0, shape[0], shape[1]), device=device))
        else:
            made.append(library.tensor(normal(rng, shape, dtype, wide), device=device, requires_grad=True))
    return made


def normal(rng, shape, dtype, wide):
    """Normal numbers in ``dtype``; where ``wide`` the same ones, once rounded, in float64."""
    return rng.normal(size=shape).astype(dtype).astype("float64" if wide else dtype)


def numpy(tensor):
    return tensor.detach().cpu().numpy()


def libraries(smoke):
    """(library, its functional, device) of minidl, and of PyTorch if it is there and sees the GPU (or need not)."""
    import minidl
    import minidl.nn.functional

    found = {"minidl": (minidl, minidl.nn.functional, "cuda")}
    if find_spec("torch"):
        try:
            import torch
        except Exception as error:  # half of it is there, or it finds no libraries: minidl is checked all the same
            report(stage="parity", name="PyTorch", ok=True, skipped=f"cannot be imported: {type(error).__name__}: {error}")
            return found
        if smoke or torch.cuda.is_available():
            device = "cuda" if torch.cuda.is_available() else "cpu"
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
            torch.set_num_threads(1)
            found["PyTorch"] = torch, torch.nn.functional, device
    return found


def wait(library, device):
    if device == "cuda":
        library.cuda.synchronize()


# -- the stages


def gradients(args):
    from minidl.testing import gradcheck, gradgradcheck

    minidl, F, device = libraries(args.smoke)["minidl"]
    for name, (_, _, what) in list(LAYERS.items())[: 3 if args.smoke else None]:

        def check(name=name, what=what):
            def function(*inputs):
                return LAYERS[name][0](minidl, F, *inputs)

            inputs = tensors(minidl, device, what, "float64")
            gradcheck(function, inputs)
            gradgradcheck(function, inputs)
            return {"ok": True}

        tried("gradients", name, check)


def run_layer(side, name, what, dtype, wide=False):
    """The result and the gradients, as NumPy arrays; where ``wide``, of the same numbers in float64."""
    library, F, device = side
    inputs = tensors(library, device, what, dtype, wide=wide)
    out = LAYERS[name][0](library, F, *inputs)
    factors = normal(np.random.default_rng(1), tuple(out.shape), dtype, wide)
    (out * library.tensor(factors, device=device)).sum().backward()
    return [numpy(out), *(numpy(x.grad) for x in inputs if x.requires_grad)]


def distance(found, wanted):
    """The largest difference, in units of the largest number."""
    return float(np.abs(found.astype(float) - wanted).max() / max(np.abs(wanted).max(), 1e-300)) if wanted.size else 0.0


def parity(args):
    sides = libraries(args.smoke)
    if "PyTorch" not in sides:
        report(stage="parity", name="all", ok=True, skipped="there is no PyTorch that sees the GPU")
        return
    for name, (_, *shapes) in list(LAYERS.items())[: 3 if args.smoke else None]:
        for dtype in ("float32", "float64"):

            def check(name=name, what=shapes[args.smoke], dtype=dtype):
                exact = run_layer(sides["PyTorch"], name, what, dtype, wide=True)
                away = {}
                for side in ("minidl", "PyTorch"):
                    found = run_layer(sides[side], name, what, dtype)
                    away[side] = float(np.max([distance(a, b) for a, b in zip(found, exact)]))  # or NaN, if one is
                worst = away["minidl"]
                return {"ok": worst <= TOLERANCE[dtype], "largest difference": worst, "PyTorch's own": away["PyTorch"]}

            tried("parity", f"{name}, {dtype}", check)
    for optimiser in ("SGD", "Adam"):

        def train(optimiser=optimiser):
            batch, n = (2, 2) if args.smoke else (100, 20)
            losses = [
                [float(numpy(loss)) for loss in Training(sides[s], batch, optimiser).run(n)] for s in ("minidl", "PyTorch")
            ]
            worst = max(abs(a - b) / abs(b) for a, b in zip(*losses))
            return {"ok": worst < 1e-3, "largest difference": worst, "tolerance": 1e-3, "losses": losses}

        tried("parity", f"training steps with {optimiser}", train)


class Training:
    """The network of examples/cifar10.py in one library, with a batch that stays on the device."""

    def __init__(self, side, batch, optimiser="SGD"):
        self.library, self.F, self.device = side
        weights = given.weights(given.SHAPES["cifar"])
        self.p = {k: self.library.tensor(w, device=self.device, requires_grad=True) for k, w in weights.items()}
        self.x, self.y = (self.library.tensor(a, device=self.device) for a in given.batch("cifar", batch))
        kind = getattr(self.library.optim, optimiser)
        options = {"lr": 0.01, "momentum": 0.9} if optimiser == "SGD" else {"lr": 0.001}
        self.optimiser = kind(list(self.p.values()), **options)

    def step(self):
        F, p = self.F, self.p
        x = F.max_pool2d(F.relu(F.conv2d(self.x, p["conv1.weight"], p["conv1.bias"], padding=1)), 2)
        x = F.max_pool2d(F.relu(F.conv2d(x, p["conv2.weight"], p["conv2.bias"], padding=1)), 2)
        x = F.relu(F.linear(x.flatten(1), p["fc1.weight"], p["fc1.bias"]))
        loss = F.cross_entropy(F.linear(x, p["fc2.weight"], p["fc2.bias"]), self.y)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return loss.detach()

    def run(self, n):
        return [self.step() for _ in range(n)]


def milliseconds(sides, makers, turns, seconds):
    """The median time of a call, by side: the sides take turns, and each turn waits for the device at both ends."""
    calls, times = {name: make() for name, make in makers.items()}, {name: [] for name in makers}
    counts = {}
    for name, call in calls.items():
        library, _, device = sides[name]
        for _ in range(3):  # compiled, chosen, allocated
            call()
        wait(library, device)
        start = time.perf_counter()
        call()
        wait(library, device)
        counts[name] = max(1, min(200, int(seconds / turns / max(time.perf_counter() - start, 1e-6))))
    for _ in range(turns):
        for name, call in calls.items():
            library, _, device = sides[name]
            wait(library, device)
            start = time.perf_counter()
            for _ in range(counts[name]):
                call()
            wait(library, device)
            times[name].append((time.perf_counter() - start) / counts[name] * 1e3)
    return {name: round(statistics.median(t), 4) for name, t in times.items()}


def layer_call(side, name, what, backward):
    """A function of no arguments that runs a layer."""
    library, F, device = side
    inputs = tensors(library, device, what, "float32")
    if not backward:

        def call():
            with library.no_grad():
                LAYERS[name][0](library, F, *inputs)

        return call
    out = LAYERS[name][0](library, F, *inputs)
    g = library.tensor(np.random.default_rng(1).normal(size=tuple(out.shape)).astype("float32"), device=device)

    def call_and_back():
        for x in inputs:
            if x.requires_grad:
                x.grad = None
        LAYERS[name][0](library, F, *inputs).backward(g)

    return call_and_back


def product_call(side, shape, own=False):
    """A function of no arguments that makes a product of matrices, on minidl's side also by its own kernel."""
    library, _, device = side
    m, k, n = shape
    a, b = (x.detach() for x in tensors(library, device, [(m, k), (k, n)], "float32"))
    if not own:
        return lambda: library.matmul(a, b)
    from minidl.kernels.cuda import products

    out = (a @ b)._array
    return lambda: products.own(a._array, b._array, out)


def times(args):
    sides = libraries(args.smoke)
    turns, seconds = (1, 0) if args.smoke else (5, 0.25)

    def timed(title, make, **more):
        def measure():
            found = milliseconds(sides, {name: lambda name=name: make(sides[name]) for name in sides}, turns, seconds)
            ratio = found["minidl"] / found["PyTorch"] if "PyTorch" in found else None
            return {"ok": True, "ms": found, "ratio": ratio and round(ratio, 3), **more}

        tried("times", title, measure)

    for batch in (1,) if args.smoke else (100, 1024):
        for optimiser in ("SGD",) if args.smoke else ("SGD", "Adam"):
            timed(f"training step, batch {batch}, {optimiser}", lambda side: Training(side, batch, optimiser).step)  # noqa: B023
    for name, (_, *shapes) in list(LAYERS.items())[: 2 if args.smoke else None]:
        for backward in (False, True):
            title = f"{name}, forward and backward" if backward else f"{name}, forward"
            timed(title, lambda side: layer_call(side, name, shapes[args.smoke], backward))  # noqa: B023
    for shape in [(3, 4, 5)] if args.smoke else PRODUCTS:
        makers = {name: lambda name=name: product_call(sides[name], shape) for name in sides}  # noqa: B023
        makers["own kernel"] = lambda: product_call(sides["minidl"], shape, own=True)  # noqa: B023
        three = {**sides, "own kernel": sides["minidl"]}
        title = "product {} x {} x {}".format(*shape)
        tried("times", title, lambda: {"ok": True, "ratio": None, "ms": milliseconds(three, makers, turns, seconds)})  # noqa: B023
    if "PyTorch" in sides and not args.smoke:  # PyTorch as it comes has TF32 in convolutions; all of it, on both sides
        for library in (sides["PyTorch"][0], sides["minidl"][0]):
            library.backends.cudnn.allow_tf32 = library.backends.cuda.matmul.allow_tf32 = True
        for batch in (100, 1024):
            title = f"training step, batch {batch}, SGD, with TF32"
            timed(title, lambda side: Training(side, batch).step)  # noqa: B023


def bars(args):
    sides = libraries(args.smoke)
    gpu_steps.run(sides, args.smoke, tried, milliseconds, gpu_steps.PICTURES)
    gpu_precision.run(sides, args.smoke, tried)


def steps(args):
    if not args.smoke:  # on the stand-in they take minutes
        gpu_steps.run(libraries(args.smoke), args.smoke, tried, milliseconds, gpu_steps.OTHERS)


def kernel_times(args):
    gpu_kernels.run(libraries(args.smoke), args.smoke, tried)


# -- the whole


def stand_in(smoke):
    """Where there is no GPU, in a smoke run, put the tests' stand-in in CuPy's place; returns whether it is used."""
    if not smoke or no_gpu() is None:
        return False
    sys.path.insert(0, str(gpu_processes.ROOT / "tests"))
    from standin import emulator, strict

    if emulator.compiler() is None:
        print("There is no GPU, and no g++ with which the tests' stand-in could run kernels: nothing was checked.")
        sys.exit(0)
    strict.install()
    return True


def no_gpu():
    """Why there is no GPU that can be used, and what to install, or None."""
    from minidl.devices import check_device

    try:
        check_device("cuda", "gpu_check")
    except RuntimeError as error:
        return str(error)
    return None


def machine(stands_in):
    """The GPU, the driver, and the versions of everything."""
    import cupy

    runtime = cupy.cuda.runtime
    properties, versions = runtime.getDeviceProperties(0), {}
    for package in ("numpy", "torch", "hypothesis", "pytest", "nvidia-cuda-nvrtc", "nvidia-cublas", "nvidia-cuda-runtime"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    name = properties["name"]
    query = ["nvidia-smi", "--query-gpu=driver_version,clocks.max.sm,power.limit,ecc.mode.current", "--format=csv,noheader"]
    try:
        asked = subprocess.run(query, capture_output=True, text=True, timeout=20).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        asked = None
    return {
        "GPU": "none: the tests' stand-in" if stands_in else name.decode() if isinstance(name, bytes) else name,
        "compute capability": f"{properties['major']}.{properties['minor']}",
        "multiprocessors": properties["multiProcessorCount"],
        "memory": properties["totalGlobalMem"],
        "driver, clock, power, ECC": asked,
        "CUDA of the driver": runtime.driverGetVersion(),
        "CUDA of the runtime": runtime.runtimeGetVersion(),
        "CuPy": cupy.__version__,
        **versions,
        "Python": platform.python_version(),
        "processor": f"{environment.processor()}, {environment.cores()} cores",
        "system": platform.platform(terse=True),
    }


def in_words(row):
    mark = "ok  " if row.get("ok") else "FAIL"
    more = row.get("error") or row.get("skipped") or row.get("stopped") or ""
    if "ms" in row:
        more = ", ".join(f"{name} {ms:.3f} ms" for name, ms in row["ms"].items()) + (
            f", ratio {row['ratio']}" if row["ratio"] else ""
        )
    if "passed" in row:
        more = f"{row['passed']} passed, {row['failed']} failed, {row['skipped']} skipped {more}"
    if "relative norm" in row:
        more = f"{row['relative norm']:.1e}, the bar is {row['bar']:.0e} {more}"
    if "kernels" in row:
        first = ", ".join(f"{kernel['name']} {kernel['share']:.0%}" for kernel in row["kernels"][:3])
        more = f"{row['us of a step']:.0f} us, {first}"
    if "largest difference" in row:
        more = f"{row['largest difference']:.1e} {more}"
    for way, error in row.get("broken", {}).items():
        more += f"; {way} is broken: {error[:200]}"
    return f"{mark} {row['stage']:9} {row['name']}: {more}"


def stages(text):
    """The names of stages in what was given."""
    found = [name for name in text.split(",") if name]
    wrong = [name for name in found if name not in SHARES]
    if wrong or not found:
        raise argparse.ArgumentTypeError(f"wants some of {', '.join(SHARES)}, got {', '.join(wrong) or 'nothing'}")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=440, help="for everything")
    parser.add_argument("--output", help="file for the results (default: gpu_check.json; of a smoke run none)")
    parser.add_argument("--only", type=stages, default=",".join(SHARES), help="stages, with commas between")
    parser.add_argument("--smoke", action="store_true", help="a little of everything, on a stand-in where there is no GPU")
    parser.add_argument("--stage", choices=[*SHARES], help=argparse.SUPPRESS)  # how this program starts its stages
    parser.add_argument("--done", type=json.loads, default=[], help=argparse.SUPPRESS)
    args = parser.parse_args()
    seconds = min(args.seconds, 200) if args.smoke else args.seconds
    clock.begin(seconds)
    stands_in = stand_in(args.smoke)
    if args.stage:
        gpu_processes.done.update(args.done)
        globals()[args.stage](args)
        return
    why = None if stands_in else no_gpu()
    if why:
        sys.exit("\n".join(["Nothing was checked. Without a GPU --smoke runs a little of this on a stand-in.", *LACKING, why]))
    for line in LACKING:
        print(line + ". Without it tests fail; what is timed is timed.")
    results = {"machine": machine(stands_in), "rows": []}
    print(json.dumps(results["machine"], indent=1), flush=True)
    output = args.output or (None if args.smoke else "gpu_check.json")

    def keep():
        results.update(ok=all(row.get("ok") for row in results["rows"]), seconds=clock.passed())
        if output:  # whatever comes next, also if it comes just now
            part = Path(f"{output}.part")
            part.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
            part.replace(output)

    def add(row):
        results["rows"].append(row)
        try:
            keep()
        except OSError as error:
            print(f"{output} cannot be written now: {error}", flush=True)
        print(in_words(row), flush=True)

    try:
        keep()
    except OSError as error:
        sys.exit(f"Nothing was checked: the results cannot be written: {error}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    whole = min(1, sum(SHARES[stage] for stage in args.only))  # a few stages share all of the time, too
    for stage in args.only:
        limit = min(seconds * SHARES[stage] / whole, clock.left())
        if limit < 5:
            add({"stage": stage, "name": "all", "ok": True, "stopped": "no time was left"})
        elif stage == "kernels":
            some = ["-k", "block and float32 or emulator"] if args.smoke else []
            add(gpu_processes.run_tests("CUDA kernels", KERNELS[:1] if args.smoke else KERNELS, some, limit))
        elif stage == "suite":
            for i, files in enumerate([] if args.smoke else SUITE):
                if clock.left() > 5:
                    add(gpu_processes.run_tests(f"part {i + 1}", files, ["--device", "cuda"], clock.left()))
        else:
            command = [sys.executable, __file__, "--stage", stage, *["--smoke"] * args.smoke]
            gpu_processes.run_stage(stage, command, limit, add)
    print(f"{'All right' if results['ok'] else 'Something is wrong'}, after {results['seconds']:.0f} s.")
    sys.exit(0 if results["ok"] else 1)


if __name__ == "__main__":
    main()

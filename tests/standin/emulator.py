"""CUDA kernels on the CPU: ``Module`` compiles a .cu text with g++ against cuda_on_cpu.h; its kernels run on NumPy arrays.

They are called as ``cupy.RawKernel``'s are, and more strictly: numbers have to be NumPy scalars of exactly the type that the
kernel takes, arrays contiguous and of its element type, grids and blocks within a GPU's limits.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import math
import mmap
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

HERE = pathlib.Path(__file__).parent
FLAGS = "-std=c++17 -O3 -g1 -fPIC -w -U_FORTIFY_SOURCE -DCUDA_ON_CPU -fsanitize=bounds -fno-sanitize-recover=bounds".split()
KERNEL = re.compile(r'extern "C"\s+__global__\s+void\s+(?:__launch_bounds__\((\d+)[^)]*\)\s*)?(\w+)\s*\(')
MARGIN = 64  # canary elements on each side of an array
EVEN = 256  # a power of two; by what greater one a place in memory can be divided, no kernel asks
LIMITS = (2**31 - 1, 65535, 65535), (1024, 1024, 64)  # of grids and of blocks
MOST_THREADS, MOST_BYTES = 1024, 4096  # of a block; of all arguments of a launch

_state = {"order": 0, "guard": False}
_one_at_a_time = threading.Lock()  # a kernel's threads are turns of one


def compiler() -> str | None:
    """The C++ compiler, if there is one."""
    return shutil.which("g++")


@contextlib.contextmanager
def running(order: int = 0, guard: bool = False) -> Iterator[None]:
    """Run what is launched inside with its threads in this order; with ``guard``, between canaries, constants checked."""
    before = dict(_state)
    _state.update(order=order, guard=guard)
    try:
        yield
    finally:
        _state.update(before)


def _header(place: pathlib.Path) -> pathlib.Path:
    """A folder with cuda_on_cpu.h, compiled beforehand: it takes longer than a kernel."""
    text = (HERE / "cuda_on_cpu.h").read_text()
    folder = place / hashlib.sha256("\0".join([text, *FLAGS]).encode()).hexdigest()[:32]
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=place) as own:
            new = pathlib.Path(own) / "header"
            new.mkdir()
            (new / "cuda_on_cpu.h").write_text(text)
            subprocess.run(["g++", *FLAGS, "-x", "c++-header", f"{new}/cuda_on_cpu.h"], check=True)
            with contextlib.suppress(OSError):  # another process has been quicker
                new.rename(folder)
    return folder


def _fenced(n: int, place: int) -> Any:
    """Memory for ``n`` bytes between pages that nobody may read, as even as ``place``; all NaN, for what reads there."""
    page, size = mmap.PAGESIZE, -(-(n + EVEN) // mmap.PAGESIZE) * mmap.PAGESIZE
    whole = np.frombuffer(mmap.mmap(-1, size + 2 * page), np.uint8)
    whole[page : page + size] = 0xFF
    for fence in (whole.ctypes.data, whole.ctypes.data + page + size):
        if ctypes.CDLL(None).mprotect(ctypes.c_void_p(fence), ctypes.c_size_t(page), 0):
            raise OSError("mprotect")
    return whole[page + (place - whole.ctypes.data) % EVEN :][:n]


class Module:
    """The kernels of one text. Compiled files are kept for other processes and runs, under the hash of what they come from."""

    def __init__(self, code: str, options: tuple[str, ...] = ()) -> None:
        defines = [option for option in options if option.startswith("-D")]
        text = subprocess.run(
            ["g++", "-E", "-P", "-x", "c++", "-DCUDA_ON_CPU", *defines, "-"],
            input=code,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        self.names = {name: int(threads or MOST_THREADS) for threads, name in KERNEL.findall(text)}  # and threads
        entries = "".join(
            f'extern "C" const char* run_{n}(const unsigned* d, unsigned o, void** a) {{ return emu::launch({n}, d, o, a); }}\n'
            f'extern "C" const char* signature_{n}() {{ return emu::signature({n}); }}\n'
            for n in self.names
        )
        source = '#include "cuda_on_cpu.h"\n#line 1 "kernels.cu"\n' + code + "\n" + entries
        key = hashlib.sha256("\0".join([(HERE / "cuda_on_cpu.h").read_text(), source, *FLAGS, *defines]).encode()).hexdigest()
        place = pathlib.Path(tempfile.gettempdir()) / f"cuda-on-cpu-{os.getuid()}"
        place.mkdir(mode=0o700, exist_ok=True)
        if place.stat().st_uid != os.getuid():
            raise RuntimeError(f"{place} belongs to someone else")
        library = place / f"{key[:32]}.so"
        if not library.exists():
            header = _header(place)
            with tempfile.TemporaryDirectory(dir=place) as own:
                (pathlib.Path(own) / "kernels.cpp").write_text(source)
                done = subprocess.run(
                    ["g++", "-shared", *FLAGS, *defines, f"-I{header}", f"{own}/kernels.cpp", "-o", f"{own}/kernels.so"],
                    capture_output=True,
                    text=True,
                )
                if done.returncode:
                    raise RuntimeError(f"g++ refuses the kernels:\n{done.stderr}")
                os.replace(f"{own}/kernels.so", library)
        self._library = ctypes.CDLL(str(library))

    def get_function(self, name: str) -> Kernel:
        """The kernel of this name."""
        if name not in self.names:
            raise AttributeError(f"there is no kernel {name!r}, only {', '.join(self.names)}")
        return Kernel(self._library, name, self.names[name])


class Kernel:
    """``kernel(grid, block, args)`` on NumPy arrays."""

    def __init__(self, library: Any, name: str, threads: int) -> None:
        self.name, self.threads = name, threads
        self._run, signature = getattr(library, f"run_{name}"), getattr(library, f"signature_{name}")
        self._run.restype = signature.restype = ctypes.c_char_p
        found = re.findall(r"([?A-Za-z])([=*c])(\d+)", signature().decode())
        self.signature = [(np.dtype(f"V{size}" if letter == "V" else letter), kind) for letter, kind, size in found]
        nbytes = sum(-(-dtype.itemsize // 8) * 8 if kind == "=" else 8 for dtype, kind in self.signature)
        if nbytes > MOST_BYTES:
            raise ValueError(f"{name}: {nbytes} bytes of arguments; a launch can be given {MOST_BYTES}")

    def __call__(self, grid: tuple[int, ...], block: tuple[int, ...], args: tuple[Any, ...], shared_mem: int = 0) -> None:
        if shared_mem:
            raise NotImplementedError(f"{self.name}: shared memory of a size chosen at the launch")
        dims = [(*(int(n) for n in size), 1, 1)[:3] for size in (grid, block)]
        for what, size, limit in zip(("grid", "block"), dims, LIMITS):
            if not all(0 < n <= most for n, most in zip(size, limit)):
                raise ValueError(f"{self.name}: a {what} of {size}; it must be between 1 and {limit}")
        if math.prod(dims[1]) > self.threads:
            raise ValueError(f"{self.name}: a block of {dims[1]}; at most {self.threads} threads can be in one")
        cells, guarded = self._cells(args)
        pointers = (ctypes.c_void_p * len(cells))(*(ctypes.addressof(c) for c in cells))
        with _one_at_a_time:
            error = self._run((ctypes.c_uint * 6)(*dims[0], *dims[1]), _state["order"], pointers)
        if error:
            raise RuntimeError(f"{self.name}: {error.decode()}")
        for check in guarded:
            check()

    def _cells(self, args: tuple[Any, ...]) -> tuple[list[Any], list[Any]]:
        if len(args) != len(self.signature):
            raise TypeError(f"{self.name} takes {len(self.signature)} arguments, got {len(args)}")
        cells: list[Any] = []
        guarded: list[Any] = []
        buffers: dict[Any, Any] = {}  # of one array given twice there is one copy
        for i, (a, (dtype, kind)) in enumerate(zip(args, self.signature)):
            where = f"{self.name}, argument {i}"
            if dtype.kind == "V":
                if not isinstance(a, np.void) or a.nbytes != dtype.itemsize or a.dtype.names is None:
                    raise TypeError(f"{where}: a structure of {dtype.itemsize} bytes needed, got {a!r}")
                cells.append((ctypes.c_char * a.nbytes).from_buffer_copy(a.tobytes()))
                continue
            if kind == "=":
                if not isinstance(a, np.generic) or a.dtype != dtype:
                    raise TypeError(f"{where}: numpy.{dtype} needed, got {getattr(a, 'dtype', type(a).__name__)}")
                cells.append(np.ctypeslib.as_ctypes_type(dtype)(a.item()))
                continue
            if isinstance(a, np.uintp) and a == 0:  # a null pointer, said so that every CuPy understands
                cells.append(ctypes.c_void_p(0))
                continue
            if not isinstance(a, np.ndarray) or not a.flags.c_contiguous or a.dtype != dtype:
                got = f"one of {a.dtype} with strides {a.strides}" if isinstance(a, np.ndarray) else type(a).__name__
                raise TypeError(f"{where}: a contiguous array of {dtype} needed, got {got}")
            if kind == "*" and not a.flags.writeable:
                raise ValueError(f"{where}: the array is read-only")
            if _state["guard"]:
                cells.append(self._guard(a, kind == "c", where, buffers, guarded))
            else:
                cells.append(ctypes.c_void_p(a.ctypes.data))
        return cells, guarded

    def _guard(self, a: Any, constant: bool, where: str, buffers: dict[Any, Any], guarded: list[Any]) -> Any:
        """The place of a copy between canaries, to be looked at (one of ``guarded``) when the kernel has run."""
        n, margin, key = a.nbytes, MARGIN * a.itemsize, (a.ctypes.data, a.nbytes)
        if key not in buffers:
            buffers[key] = _fenced(n + 2 * margin, a.ctypes.data - margin)
        buffer = buffers[key]
        inner, data = buffer[margin : margin + n], a.reshape(-1).view(np.uint8)
        inner[:] = data

        def check() -> None:
            if not ((buffer[:margin] == 0xFF).all() and (buffer[margin + n :] == 0xFF).all()):
                raise RuntimeError(f"{where}: written outside the array")
            if not constant:
                data[:] = inner
            elif not np.array_equal(inner, data):
                raise RuntimeError(f"{where}: a constant array was changed")

        guarded.insert(0 if not constant else len(guarded), check)
        return ctypes.c_void_p(buffer.ctypes.data + margin)

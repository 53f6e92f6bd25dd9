"""Products of matrices by cublasLt, the library of NVIDIA's that fuses what follows a product into it.

CuPy's own products come from cuBLAS, which it does not let into a captured step, and which fuses nothing. Here the library is
called by ctypes: whatever it needs is an argument (stream, memory to work in), so nothing is set, nothing waits, and a capture
may go on.

The library counts down columns, as Fortran does, and we along rows. What lies in memory as a row-major (m, n) matrix is for
it an (n, m) one, the transpose. So for ``out = a @ b`` it is asked for its ``out' = b' @ a'``, the same numbers at the same
places: ``b`` is its first factor, ``a`` its second.
"""

from __future__ import annotations

import ctypes
import functools
import math
import threading
import warnings
import weakref
from typing import Any, NamedTuple

import cupy
import numpy as np

TYPES = {"float32": 0, "float64": 1, "float16": 2, "bfloat16": 14}  # the library's numbers for them
# How numbers are multiplied: "tf32", "bf16" and "fp16" round factors in float32 to so many bits, for the tensor cores. Sums are
# in float32 all the same.
COMPUTE = {"fp32": 68, "tf32": 77, "bf16": 75, "fp16": 74, "fp64": 70}
# What follows the product. With the first, `bias` (n,) is added to each row; "aux" keeps a bit for each number, whether relu
# let it through, which "drelu" reads. "bgrad" puts sums in `bias`: of the result's columns (n,); of b's columns (n,) for
# "bgrada"; of a's rows (m,) for "bgradb".
EPILOGUES = {
    "": 1, "bias": 4, "relu": 2, "relu_bias": 6, "relu_aux": 130, "relu_aux_bias": 134, "drelu": 136, "drelu_bgrad": 152,
    "bgrada": 256, "bgradb": 512,
}  # fmt: skip
MOST_WORKSPACE = 32 << 20  # bytes to work in; what NVIDIA advises for its H100, and more than most products want
REPEATABLE = 2 | 4  # long sums may be cut, if the parts are added up afterwards, in order; 1 would be in place

P = ctypes.c_void_p
Attributes = dict[str, tuple[int, Any]]  # the number and the type of each
OF_PRODUCT: Attributes = {
    "transa": (3, ctypes.c_int32), "transb": (4, ctypes.c_int32), "epilogue": (7, ctypes.c_uint32),
    "bias": (8, P), "aux": (11, P), "aux_ld": (12, ctypes.c_int64), "aux_stride": (13, ctypes.c_int64),
}  # fmt: skip
OF_MATRIX: Attributes = {"batch": (5, ctypes.c_int32), "stride": (6, ctypes.c_int64)}
OF_PREFERENCE: Attributes = {"workspace": (1, ctypes.c_uint64), "reductions": (3, ctypes.c_uint32)}
OF_PREFERENCE |= {f"aligned_{name}": (5 + i, ctypes.c_uint32) for i, name in enumerate("abcd")}
SIGNATURES = {
    "Create": (P,),
    "MatmulDescCreate": (P, ctypes.c_int, ctypes.c_int),
    "MatrixLayoutCreate": (P, ctypes.c_int, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_int64),
    "MatmulPreferenceCreate": (P,),
    **{
        f"{kind}SetAttribute": (P, ctypes.c_int, P, ctypes.c_size_t)
        for kind in ("MatmulDesc", "MatrixLayout", "MatmulPreference")
    },
    **{f"{kind}Destroy": (P,) for kind in ("MatmulDesc", "MatrixLayout", "MatmulPreference")},
    "MatmulAlgoGetHeuristic": (P, P, P, P, P, P, P, ctypes.c_int, P, P),
    "Matmul": (P, P, P, P, P, P, P, P, P, P, P, P, P, P, ctypes.c_size_t, P),
}
NOT_SUPPORTED = 15


class Choice(ctypes.Structure):
    """``cublasLtMatmulHeuristicResult_t``: an algorithm, the bytes that it works in, and four things more."""

    _fields_ = (
        ("algorithm", ctypes.c_uint64 * 8), ("workspace", ctypes.c_size_t), ("state", ctypes.c_int), ("waves", ctypes.c_float),
        ("reserved", ctypes.c_int * 4),
    )  # fmt: skip


@functools.cache
def library() -> Any:
    """The library as ctypes has it, or None, which is said once; looked for where CuPy looks for its own."""
    try:
        from cuda.pathfinder import load_nvidia_dynamic_lib

        return prepared(ctypes.CDLL(load_nvidia_dynamic_lib("cublasLt").abs_path))
    except (ImportError, OSError, RuntimeError) as error:  # not found is a RuntimeError
        wheel = "nvidia-cublas-cu12" if cupy.cuda.runtime.runtimeGetVersion() < 13000 else "nvidia-cublas"
        warnings.warn(
            "minidl: cublasLt cannot be loaded, so products of matrices are those of minidl's own kernel, which has no tensor "
            f"cores; pip install {wheel} ({str(error).splitlines()[0]})",
            stacklevel=2,
        )
        return None


def prepared(found: Any) -> Any:
    """The library, which is told what its functions take: an integer would be cut to 32 bits."""
    for name, types in SIGNATURES.items():
        getattr(found, f"cublasLt{name}").argtypes = types
    found.cublasLtGetStatusName.restype = found.cublasLtGetStatusString.restype = ctypes.c_char_p
    return found


def _ask(name: str, *args: Any) -> int:
    """Call a function; returns 0, or `NOT_SUPPORTED`.

    Raises
    ------
    RuntimeError
        With the library's own words for what is wrong.
    """
    code: int = getattr(library(), f"cublasLt{name}")(*args)
    if code not in (0, NOT_SUPPORTED):
        words = [getattr(library(), f"cublasLtGetStatus{kind}")(code).decode() for kind in ("String", "Name")]
        raise RuntimeError(f"cublasLt{name} says: {words[0]} ({words[1]})")
    return code


def _set(kind: str, made: Any, known: Attributes, **attributes: int) -> None:
    for name, value in attributes.items():
        number, type = known[name]
        _ask(f"{kind}SetAttribute", made, number, ctypes.byref(type(value)), ctypes.sizeof(type))


@functools.cache
def _handle(device: int) -> Any:
    handle = P()
    _ask("Create", ctypes.byref(handle))
    return handle


class Matrix(NamedTuple):
    """Matrices as the library sees them: columns in a row, ``ld`` elements from one to the next; matrices ``stride`` apart."""

    type: int
    rows: int
    columns: int
    ld: int
    batch: int
    stride: int


class Plan:
    """How the library is to make products of one kind: what it is told of them, and its algorithm, None if it has none.

    ``aligned`` says by what powers of two the places in memory can be divided, of both factors, the result, the bias and the
    mask: some algorithms fetch many bytes at once.
    """

    def __init__(
        self, device: int, factors: tuple[Matrix, Matrix], result: Matrix, turned: tuple[bool, bool], compute: int,
        epilogue: int, aux_ld: int, aligned: tuple[int, ...],
    ) -> None:  # fmt: skip
        scale = TYPES["float64" if compute == COMPUTE["fp64"] else "float32"]
        self.handle, self.lock = _handle(device), threading.Lock()
        self.one, self.zero = ((ctypes.c_double if scale else ctypes.c_float)(x) for x in (1, 0))
        self.product = self._new("MatmulDesc", compute, scale)
        _set("MatmulDesc", self.product, OF_PRODUCT, transa=turned[0], transb=turned[1], epilogue=epilogue)
        self.point(*aligned[3:])  # only how even these numbers are is looked at here
        if aux_ld:
            _set("MatmulDesc", self.product, OF_PRODUCT, aux_ld=aux_ld, aux_stride=aux_ld * result.columns)
        self.matrices = [self._matrix(*matrix) for matrix in (*factors, result)]
        wishes, count, choice = self._new("MatmulPreference"), ctypes.c_int(), Choice()
        places = dict(zip(("aligned_a", "aligned_b", "aligned_c", "aligned_d"), (*aligned[:3], aligned[2])))
        _set("MatmulPreference", wishes, OF_PREFERENCE, workspace=MOST_WORKSPACE, reductions=REPEATABLE, **places)
        args = self.handle, self.product, *self.matrices, self.matrices[2], wishes, 1, ctypes.byref(choice), ctypes.byref(count)
        _ask("MatmulAlgoGetHeuristic", *args)
        self.choice = choice if count.value and choice.state == 0 else None

    def _new(self, kind: str, *args: int) -> Any:
        made = P()
        _ask(f"{kind}Create", ctypes.byref(made), *args)
        weakref.finalize(self, getattr(library(), f"cublasLt{kind}Destroy"), made)
        return made

    def _matrix(self, type: int, rows: int, columns: int, ld: int, batch: int, stride: int) -> Any:
        made = self._new("MatrixLayout", type, rows, columns, ld)
        _set("MatrixLayout", made, OF_MATRIX, batch=batch, stride=stride)
        return made

    def point(self, bias: int, aux: int) -> None:
        """Say where bias and mask are, if there are any."""
        _set("MatmulDesc", self.product, OF_PRODUCT, **{n: p for n, p in (("bias", bias), ("aux", aux)) if p})

    def run(self, first: int, second: int, result: int, bias: int, aux: int) -> None:
        """Have it made, from and to these places, by the current stream. What it works in is given back to the pool at once:
        whoever takes it next does so later in the same stream.
        """
        assert self.choice is not None
        work = cupy.empty(self.choice.workspace, np.uint8) if self.choice.workspace else None
        with self.lock:
            self.point(bias, aux)
            _ask(
                "Matmul", self.handle, self.product, ctypes.byref(self.one), first, self.matrices[0], second, self.matrices[1],
                ctypes.byref(self.zero), result, self.matrices[2], result, self.matrices[2], ctypes.byref(self.choice),
                None if work is None else work.data.ptr, self.choice.workspace, cupy.cuda.get_current_stream().ptr,
            )  # fmt: skip


plan = functools.lru_cache(4096)(Plan)


def _lying(x: Any) -> tuple[Matrix, bool] | None:
    """How the library sees ``x``, and whether it is to turn that round; None if no stride says how to go on from row to row,
    column to column and matrix to matrix.
    """
    (*batch, rows, columns), strides = x.shape, [n // x.itemsize for n in x.strides]
    down, right = (columns if rows == 1 else strides[-2]), (rows if columns == 1 else strides[-1])
    steps = [(n, stride) for n, stride in zip(batch, strides) if n != 1] or [(1, 0)]  # one element goes nowhere
    count, step = math.prod(batch), steps[-1][1]
    if step < 0 or any(outer[1] != inner[0] * inner[1] for outer, inner in zip(steps, steps[1:])):
        return None
    if down >= columns and (columns == 1 or right == 1):
        return Matrix(TYPES[x.dtype.name], columns, rows, down, count, step), False
    if right >= rows and (rows == 1 or down == 1):
        return Matrix(TYPES[x.dtype.name], rows, columns, right, count, step), True
    return None


def _seen(x: Any, batch: tuple[int, ...]) -> tuple[Any, Matrix, bool]:
    """A factor for products with this ``batch``, or a copy if there must be one, and how it lies."""
    if x.shape[:-2] != batch:
        x = cupy.broadcast_to(x, (*batch, *x.shape[-2:]))
    found = _lying(x)
    return (x, *found) if found else _seen(cupy.ascontiguousarray(x), batch)


def _even(place: int) -> int:
    return min(256, place & -place)


def product(a: Any, b: Any, out: Any, compute: str = "fp32", epilogue: str = "", bias: Any = None, aux: Any = None) -> bool:
    """``out = a @ b``, and what the epilogue says; False if the library cannot do that, and then nothing is done.

    Parameters
    ----------
    a, b : array
        (..., m, k) and (..., k, n), of one type, which broadcast in what stands before; no size may be 0.
    out : array
        (..., m, n), of the factors' type or, if that is narrow, of float32.
    compute : str
        For factors in float32, one of ``COMPUTE``.
    epilogue : str
        One of ``EPILOGUES``.
    bias, aux : array, optional
        What the epilogue reads or writes. ``aux`` are bits: uint8, (..., m, 16 * ceil(n / 128)).
    """
    found = _lying(out)
    if found is None or found[1]:
        whole = cupy.empty(out.shape, out.dtype)
        done = product(a, b, whole, compute, epilogue, bias, aux)
        out[...] = whole
        return done
    first, *of_first = _seen(b, out.shape[:-2])
    second, *of_second = _seen(a, out.shape[:-2])
    compute = {"float32": compute, "float64": "fp64"}.get(a.dtype.name, "fp32")
    places = [0 if x is None else x.data.ptr for x in (first, second, out, bias, aux)]
    factors, turned = zip(of_first, of_second)
    bits = 0 if aux is None else 8 * aux.shape[-1]
    made = plan(
        cupy.cuda.get_device_id(),
        factors,
        found[0],
        turned,
        COMPUTE[compute],
        EPILOGUES[epilogue],
        bits,
        tuple(map(_even, places)),
    )
    if made.choice is None:
        return False
    made.run(*places)
    return True

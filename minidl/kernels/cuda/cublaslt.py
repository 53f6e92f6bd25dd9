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

from .loader import empty

TYPES = {"f": (0, 4), "d": (1, 8), "e": (2, 2), "E": (14, 2)}  # the library's number for each, bfloat16 the last, and its bytes
# What factors in float32 are rounded to, for the tensor cores; sums are in float32 all the same.
COMPUTE = {"float32": 68, "tf32": 77, "bfloat16": 75, "float16": 74, "float64": 70}
# What follows the product. With "bias" `bias` (n,) is added to each row; "bgradb" puts the sums of a's rows there, (m,).
EPILOGUES = {"": 1, "bias": 4, "relu": 2, "relu_bias": 6, "bgradb": 512}
MOST_WORKSPACE = 32 << 20  # bytes to work in; what NVIDIA advises for its H100, and more than most products want
REPEATABLE = 2 | 4  # long sums may be cut, if the parts are added up afterwards, in order; 1 would be in place

P = ctypes.c_void_p
Attributes = dict[str, tuple[int, Any]]  # the number and the type of each
OF_PRODUCT: Attributes = {
    "transa": (3, ctypes.c_int32), "transb": (4, ctypes.c_int32), "epilogue": (7, ctypes.c_uint32), "bias": (8, P),
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
            "minidl: cublasLt cannot be loaded, so products of matrices are those of minidl's own kernel; "
            f"pip install {wheel} ({str(error).splitlines()[0]})",
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

    ``aligned`` says by what powers of two the places in memory can be divided, of both factors, the result and the bias: some
    algorithms fetch many bytes at once.
    """

    def __init__(
        self, device: int, matrices: tuple[Matrix, ...], turned: tuple[bool, bool], compute: str, epilogue: str,
        aligned: tuple[int, ...],
    ) -> None:  # fmt: skip
        wide = compute == "float64"
        self.handle, self.lock, self.pointed = _handle(device), threading.Lock(), 0
        self.one, self.zero = (ctypes.byref((ctypes.c_double if wide else ctypes.c_float)(x)) for x in (1, 0))
        self.product = self._new("MatmulDesc", COMPUTE[compute], TYPES["d" if wide else "f"][0])
        how = {"transa": turned[0], "transb": turned[1], "epilogue": EPILOGUES[epilogue]}
        _set("MatmulDesc", self.product, OF_PRODUCT, **how)
        self.point(aligned[3])  # only how even the number is is looked at here
        self.matrices = [self._matrix(*matrix) for matrix in matrices]
        wishes, count, choice = self._new("MatmulPreference"), ctypes.c_int(), Choice()
        places = dict(zip(("aligned_a", "aligned_b", "aligned_c", "aligned_d"), (*aligned[:3], aligned[2])))
        _set("MatmulPreference", wishes, OF_PREFERENCE, workspace=MOST_WORKSPACE, reductions=REPEATABLE, **places)
        args = self.handle, self.product, *self.matrices, self.matrices[2], wishes, 1, ctypes.byref(choice), ctypes.byref(count)
        _ask("MatmulAlgoGetHeuristic", *args)
        self.choice = choice if count.value and choice.state == 0 else None
        self.algorithm = ctypes.byref(choice)

    def _new(self, kind: str, *args: int) -> Any:
        made = P()
        _ask(f"{kind}Create", ctypes.byref(made), *args)
        weakref.finalize(self, getattr(library(), f"cublasLt{kind}Destroy"), made)
        return made

    def _matrix(self, type: int, rows: int, columns: int, ld: int, batch: int, stride: int) -> Any:
        made = self._new("MatrixLayout", type, rows, columns, ld)
        _set("MatrixLayout", made, OF_MATRIX, batch=batch, stride=stride)
        return made

    def point(self, bias: int) -> None:
        """Say where the bias is, if there is one."""
        if self.pointed != bias:
            _set("MatmulDesc", self.product, OF_PRODUCT, bias=bias)
            self.pointed = bias

    def run(self, first: int, second: int, result: int, bias: int) -> bool:
        """Have it made, from and to these places, by the current stream; whether the library does it, after all. What it works
        in is given back to the pool at once: whoever takes it next does so later in the same stream.
        """
        assert self.choice is not None
        size = self.choice.workspace
        work = empty(size, np.uint8) if size else None
        with self.lock:
            self.point(bias)
            code = _ask(
                "Matmul", self.handle, self.product, self.one, first, self.matrices[0], second, self.matrices[1], self.zero,
                result, self.matrices[2], result, self.matrices[2], self.algorithm,
                None if work is None else work.data.ptr, size, cupy.cuda.get_current_stream().ptr,
            )  # fmt: skip
        return code != NOT_SUPPORTED


plan = functools.lru_cache(4096)(Plan)


@functools.lru_cache(4096)
def _lying(shape: tuple[int, ...], strides: tuple[int, ...], dtype: str) -> tuple[Matrix, bool] | None:
    """How the library sees an array, and whether it is to turn that round; None if no stride says how to go on from row to row,
    column to column and matrix to matrix.
    """
    type, nbytes = TYPES[dtype]
    (*batch, rows, columns), steps = shape, [n // nbytes for n in strides]
    down, right = (columns if rows == 1 else steps[-2]), (rows if columns == 1 else steps[-1])
    on = [(n, step) for n, step in zip(batch, steps) if n != 1] or [(1, 0)]  # one element goes nowhere
    count, step = math.prod(batch), on[-1][1]
    if step < 0 or any(outer[1] != inner[0] * inner[1] for outer, inner in zip(on, on[1:])):
        return None
    if down >= columns and (columns == 1 or right == 1):
        return Matrix(type, columns, rows, down, count, step), False
    if right >= rows and (rows == 1 or down == 1):
        return Matrix(type, rows, columns, right, count, step), True
    return None


def _seen(x: Any, batch: tuple[int, ...]) -> tuple[Any, Matrix, bool]:
    """A factor for products with this ``batch``, or a copy if there must be one, and how it lies."""
    if x.shape[:-2] != batch:
        x = cupy.broadcast_to(x, (*batch, *x.shape[-2:]))
    found = _lying(x.shape, x.strides, x.dtype.char)
    return (x, *found) if found else _seen(cupy.ascontiguousarray(x), batch)


def product(a: Any, b: Any, out: Any, compute: str = "float32", epilogue: str = "", bias: Any = None) -> bool:
    """``out = a @ b``, and what the epilogue says; False if the library cannot do that, and then nothing is done.

    Parameters
    ----------
    a, b : array
        (..., m, k) and (..., k, n), of one type, which broadcast in what stands before; no size may be 0.
    out : array
        (..., m, n), of the factors' type or, if that is narrow, of float32.
    compute : str
        What factors in float32 are rounded to, one of ``COMPUTE``.
    epilogue : str
        One of ``EPILOGUES``.
    bias : array, optional
        What the epilogue reads or writes.
    """
    found = _lying(out.shape, out.strides, out.dtype.char)
    if found is None or found[1]:
        whole = empty(out.shape, out.dtype)
        done = product(a, b, whole, compute, epilogue, bias)
        if done:
            out[...] = whole
        return done
    first, of_first, turn_first = _seen(b, out.shape[:-2])
    second, of_second, turn_second = _seen(a, out.shape[:-2])
    matrices, turned = (of_first, of_second, found[0]), (turn_first, turn_second)
    how = compute if a.dtype.char == "f" else "float64" if a.dtype.char == "d" else "float32"
    places = [0 if x is None else x.data.ptr for x in (first, second, out, bias)]
    even = tuple([place and (place & -place & 255 or 256) for place in places])  # by what power of two, up to 256
    made = plan(cupy.cuda.get_device_id(), matrices, turned, how, epilogue, even)
    return made.choice is not None and made.run(*places)

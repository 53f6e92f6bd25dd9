"""New tensors from numbers, shapes and arrays."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import dtypes
from ..autograd.mode import mode
from ..autograd.tape import TensorBase, wrap
from ..backend import gpu_types
from ..devices import check_device, current, device_of, made, moved, on_host
from ..shapes import ShapeError, as_shape

if TYPE_CHECKING:
    from .._tensor import Tensor


def _new(array: Any, dtype: Any, device: Any, requires_grad: bool, op: str) -> Tensor:
    """A leaf on ``device``: of an array, or of what a function makes of the array library there."""
    where = check_device(device, op)
    array = made(where, array) if callable(array) else array
    if dtype is not None:
        with current(device_of(array)):
            array = array.astype(dtypes.as_dtype(dtype).dtype, copy=False)
    t = wrap(moved(array, where))
    return t.requires_grad_() if requires_grad else t


def _python_scalar(data: Any) -> Any:
    """The first number in nested lists."""
    while isinstance(data, (list, tuple)) and data:
        data = data[0]
    return data


def _plain(data: Any) -> Any:
    """Nested lists with their tensors as arrays."""
    if isinstance(data, (list, tuple)):
        return [_plain(x) for x in data]
    return on_host(_read(data, "tensor() reads it") if isinstance(data, TensorBase) else data)


def _read(x: Any, how: str) -> Any:
    """The array of ``x``, whose numbers go on by a way that a watcher cannot see."""
    if mode.watcher is not None:
        mode.watcher.seen(x, how)
    return x._array


def tensor(data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A new leaf tensor with a copy of ``data``: a number, nested lists of numbers, an array or a tensor.

    Python floats give the default dtype (float32), Python integers int64; arrays keep theirs. A tensor's copy is where the
    tensor is, all else on the default device, unless ``device`` says otherwise.

    Raises
    ------
    TypeError
        If the numbers are of a type that tensors do not hold.
    ShapeError
        If nested lists are of uneven length.
    """
    if type(getattr(data, "_array", data)) in gpu_types:  # it need not go by way of the host
        array = (_read(data, "tensor() reads it") if isinstance(data, TensorBase) else data).copy()
        return _new(array, dtype, device_of(array) if device is None else device, requires_grad, "tensor")
    try:
        array = np.array(_plain(data))
    except ValueError as error:
        raise ShapeError(f"tensor: data: nested lists must have even lengths ({error})") from None
    held = dtypes.as_dtype(array.dtype)
    if dtype is not None:
        _check_fits(array, data, dtypes.as_dtype(dtype), "tensor: data")
    else:
        first = _python_scalar(data)
        if array.size == 0 and isinstance(data, (list, tuple)):
            dtype = dtypes.get_default_dtype()
        elif type(first) is float or (array.dtype.kind == "f" and type(first) in (int, bool)):
            dtype = dtypes.get_default_dtype()
        else:
            dtype = held
    return _new(array, dtype, device, requires_grad, "tensor")


def _check_fits(array: Any, data: Any, dtype: Any, what: str) -> None:
    """Refuse Python numbers beyond the range of an integer dtype; arrays wrap around, as everywhere."""
    if not hasattr(data, "dtype") and dtype.dtype.kind in "iu" and array.size:
        limits = np.iinfo(dtype.dtype)
        if not (array.min() >= limits.min and array.max() <= limits.max):
            raise OverflowError(f"{what} does not fit {dtype}, which holds {limits.min} to {limits.max}")


def is_tensor(obj: Any) -> bool:
    """Whether ``obj`` is a tensor."""
    return isinstance(obj, TensorBase)


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """``data`` as a tensor, without copying it if it is a tensor or an array of the wanted dtype."""
    if type(data) in gpu_types:
        data = wrap(data)
    if isinstance(data, TensorBase):
        return data.to(device=device, dtype=dtype)  # type: ignore[attr-defined]
    if isinstance(data, np.ndarray) and (dtype is None or data.dtype == dtypes.as_dtype(dtype).dtype):
        return from_numpy(data).to(check_device(device, "as_tensor"))
    return tensor(data, dtype=dtype, device=device)


def from_numpy(ndarray: Any) -> Tensor:
    """A tensor that shares the memory of a NumPy array: a change of one is a change of both.

    Raises
    ------
    TypeError
        If it is no array, or of a dtype that tensors do not hold.
    """
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"from_numpy: expected a numpy.ndarray, got {type(ndarray).__name__}")
    dtypes.as_dtype(ndarray.dtype)
    return wrap(np.asarray(ndarray))


def from_dlpack(ext_tensor: Any) -> Tensor:
    """A tensor that shares the memory of another library's (PyTorch's, CuPy's ...), by the DLPack protocol."""
    kind, index = map(int, ext_tensor.__dlpack_device__())
    if kind != 2:
        return from_numpy(np.from_dlpack(ext_tensor))
    return wrap(made(check_device(f"cuda:{index}", "from_dlpack"), lambda m: m.from_dlpack(ext_tensor)))


def _float(dtype: Any) -> Any:
    return dtypes.get_default_dtype() if dtype is None else dtype


def _sizes(sizes: Any, size: Any, op: str) -> tuple[int, ...]:
    """The shape of a new tensor: ``op(2, 3)``, ``op((2, 3))`` or ``op(size=(2, 3))``."""
    if sizes and size is not None:
        raise TypeError(f"{op}: got sizes {sizes} and also the argument size={size!r}")
    return _size(sizes if size is None else (size,), op)


def _size(size: Any, op: str) -> tuple[int, ...]:
    if not size:
        raise TypeError(f"{op}: the argument 'size' is missing; write {op}(()) for a tensor without dimensions")
    shape = as_shape(size, op)
    if any(n < 0 for n in shape):
        raise ShapeError(f"{op}: size {shape} must not be negative")
    return shape


def empty(*sizes: Any, size: Any = None, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor whose elements are whatever its memory held."""
    shape, wanted = _sizes(sizes, size, "empty"), dtypes.as_dtype(_float(dtype)).dtype
    return _new(lambda m: m.empty(shape, wanted), None, device, requires_grad, "empty")


def zeros(*sizes: Any, size: Any = None, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of zeros: ``zeros(2, 3)`` or ``zeros((2, 3))``."""
    shape, wanted = _sizes(sizes, size, "zeros"), dtypes.as_dtype(_float(dtype)).dtype
    return _new(lambda m: m.zeros(shape, wanted), None, device, requires_grad, "zeros")


def ones(*sizes: Any, size: Any = None, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of ones: ``ones(2, 3)`` or ``ones((2, 3))``."""
    shape, wanted = _sizes(sizes, size, "ones"), dtypes.as_dtype(_float(dtype)).dtype
    return _new(lambda m: m.ones(shape, wanted), None, device, requires_grad, "ones")


def full(size: Any, fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of one number."""
    (fill_value,) = _numbers("full", fill_value=fill_value)
    wanted = dtypes.as_dtype(type(fill_value) if dtype is None else dtype)
    _check_fits(np.asarray(fill_value), fill_value, wanted, "full: fill_value")
    shape = _size((size,), "full")
    return _new(lambda m: m.full(shape, fill_value, wanted.dtype), None, device, requires_grad, "full")


def _numbers(op: str, **named: Any) -> list[Any]:
    """Arguments that are numbers, or tensors of no dimensions, as numbers."""
    found = []
    for name, x in named.items():
        if isinstance(x, TensorBase) and not x._array.ndim:
            x = _read(x, f"{op}() reads it").item()
        if not isinstance(x, (bool, int, float, np.generic)):
            raise TypeError(f"{op}: {name} must be a number or a tensor without dimensions, got {type(x).__name__}")
        found.append(x)
    return found


def _like(x: Any, op: str) -> Any:
    if not isinstance(x, TensorBase):
        raise TypeError(f"{op}: expected a Tensor, got {type(x).__name__}")
    return x._array


def _new_like(name: str, input: Any, dtype: Any, device: Any, requires_grad: bool) -> Any:
    """A leaf made by the array library's function ``name`` plus ``_like``; where ``input`` is, unless ``device`` says where."""
    like = _like(input, f"{name}_like")
    here, wanted = device_of(like), like.dtype if dtype is None else dtypes.as_dtype(dtype).dtype
    where = here if device is None else check_device(device, f"{name}_like")
    if where == here:
        return _new(lambda m: getattr(m, f"{name}_like")(like, wanted), None, here, requires_grad, f"{name}_like")
    return _new(lambda m: getattr(m, name)(like.shape, wanted), None, where, requires_grad, f"{name}_like")


def empty_like(input: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """`empty` in the shape, dtype and memory order of ``input``."""
    return _new_like("empty", input, dtype, device, requires_grad)


def zeros_like(input: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """`zeros` in the shape, dtype and memory order of ``input``."""
    return _new_like("zeros", input, dtype, device, requires_grad)


def ones_like(input: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """`ones` in the shape, dtype and memory order of ``input``."""
    return _new_like("ones", input, dtype, device, requires_grad)


def full_like(input: Any, fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """`full` in the shape, dtype and memory order of ``input``."""
    _like(input, "full_like")
    t = empty_like(input, dtype=dtype, device=device)
    t._array[...] = full((), fill_value, dtype=t.dtype, device="cpu")._array.item()
    return t.requires_grad_() if requires_grad else t


def arange(
    start: Any = None, end: Any = None, step: Any = 1, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Numbers from ``start`` (0) up to but without ``end``, ``step`` (1) apart: ``arange(end)``, ``arange(start, end, step)``.

    Raises
    ------
    ValueError
        If ``step`` is 0 or leads away from ``end``.
    """
    start, end = (0, start) if end is None else (0 if start is None else start, end)
    start, end, step = _numbers("arange", start=start, end=end, step=step)
    if dtype is None:
        whole = all(isinstance(x, (int, np.integer)) for x in (start, end, step))
        dtype = dtypes.int64 if whole else dtypes.get_default_dtype()
    dtype = _number_dtype(dtype, "arange")
    if not all(map(math.isfinite, (start, end, step))) or step == 0 or (end - start) * step < 0:
        raise ValueError(f"arange: step {step} does not lead from {start} to {end}")
    count = math.ceil((end - start) / step)
    if not dtype.is_floating_point:  # bounds are cut off to whole numbers, in int64 before the elements are counted
        start, end, step = int(start), int(end), int(step)
        if step == 0:
            raise ValueError(f"arange: step is between -1 and 1, which is 0 in {dtype}")
        count = len(range(start, end, step)) if dtype == dtypes.int64 else count
    return _new(lambda m: start + step * m.arange(count), dtype, device, requires_grad, "arange")


def _number_dtype(dtype: Any, op: str) -> Any:
    dtype = dtypes.as_dtype(dtype)
    if dtype == dtypes.bool_:
        raise TypeError(f"{op}: dtype must be one of numbers, got {dtype}")
    return dtype


def linspace(start: Any, end: Any, steps: int, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """``steps`` numbers from ``start`` to ``end``, both included, evenly spaced."""
    (steps,) = _size((steps,), "linspace")
    start, end = _numbers("linspace", start=start, end=end)
    wanted = _number_dtype(_float(dtype), "linspace")
    return _new(lambda m: m.linspace(start, end, steps), wanted, device, requires_grad, "linspace")


def eye(n: int, m: int | None = None, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """The identity matrix of ``n`` rows and ``m`` (``n``) columns."""
    n, m = _size((n, n if m is None else m), "eye")
    wanted = dtypes.as_dtype(_float(dtype)).dtype
    return _new(lambda xp: xp.eye(n, m, dtype=wanted), None, device, requires_grad, "eye")

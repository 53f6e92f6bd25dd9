"""`Tensor`: the tape's tensor with everything a person does to one. The methods that are just ops are bound in `_methods`."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from . import backend, devices, dtypes
from ._methods import bind, in_place_method, is_operand, new_method, operator_method, swapped_method
from .autograd import inplace, sweep, tape
from .autograd.mode import effect, mode
from .autograd.op import cast, move
from .autograd.tape import TensorBase, counter, source, wrap
from .devices import check_device, device, device_of
from .functions import creation, joining, shaping
from .ops import compare, elementwise, index, layout, linear
from .printing import tensor_text
from .shapes import ShapeError, as_shape, wrap_dim

Method = Callable[..., "Tensor"]


class Tensor(TensorBase):
    """An array with a gradient. Made by `minidl.tensor`, `minidl.zeros` and the like; see there for dtypes.

    Parameters
    ----------
    *data
        Sizes, ``Tensor(2, 3)``, for an uninitialised float tensor; or numbers, ``Tensor([1, 2])``, for a float tensor of them.
    """

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Method: ...  # a checker does not see what `bind` adds,

        other: Any = None  # and that these give more than a tensor, or something else
        max = min = aminmax = median = nanmedian = kthvalue = mode = sort = topk = cummax = cummin = split = chunk = other
        unbind = tensor_split = hsplit = vsplit = dsplit = nonzero = unique = unique_consecutive = other
        equal = allclose = is_complex = is_signed = is_nonzero = is_same_size = other

    def __new__(cls, *data: Any) -> Any:
        sizes = all(isinstance(n, (int, np.integer)) for n in data)
        made = creation.empty(data or (0,)) if sizes else creation.tensor(data[0], dtype=dtypes.get_default_dtype())
        made.__class__ = cls
        return made

    # -- what it is

    @property
    def shape(self) -> tuple[int, ...]:
        """The size of each dimension."""
        return self._array.shape

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return self._array.ndim

    @property
    def dtype(self) -> dtypes.dtype:
        """The type of the elements, such as ``minidl.float32``."""
        return dtypes.as_dtype(self._array.dtype)

    @property
    def device(self) -> device:
        """Where the memory is."""
        return device_of(self._array)

    @property
    def is_cuda(self) -> bool:
        """Whether the memory is a GPU's."""
        return type(self._array) in backend.gpu_types

    @property
    def itemsize(self) -> int:
        """Bytes in an element."""
        return self._array.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes in all elements."""
        return self._array.nbytes

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the size of one dimension."""
        return self.shape if dim is None else self.shape[wrap_dim(dim, self.ndim, "size")]

    def dim(self) -> int:
        """The number of dimensions."""
        return self.ndim

    def numel(self) -> int:
        """The number of elements."""
        return self._array.size

    nelement = numel

    def element_size(self) -> int:
        """Bytes in an element."""
        return self.itemsize

    def stride(self, dim: int | None = None) -> Any:
        """How many elements apart in memory neighbours along each dimension (or ``dim``) are."""
        strides = tuple(n // self.itemsize for n in self._array.strides)
        return strides if dim is None else strides[wrap_dim(dim, self.ndim, "stride")]

    def get_device(self) -> Any:
        """The number of the GPU that holds it; -1 on the CPU."""
        return self._array.data.device_id if self.is_cuda else -1

    def is_contiguous(self) -> bool:
        """Whether the elements lie in memory in row-major order."""
        return bool(self._array.flags.c_contiguous)

    def is_floating_point(self) -> bool:
        """Whether the dtype is a floating one."""
        return self.dtype.is_floating_point

    def data_ptr(self) -> int:
        """The address of the first element."""
        return self._array.data.ptr if self.is_cuda else self._array.ctypes.data

    def is_pinned(self) -> bool:
        """Whether it is in memory of the CPU that a GPU reads by itself: see `pin_memory`."""
        return devices.is_pinned(self._array)

    # -- its gradient

    @property
    def requires_grad(self) -> bool:
        """Whether a gradient is wanted for it: asked for on a leaf, inherited by what is computed from one."""
        return source(self) is not None

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.requires_grad_(value)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Ask for a gradient (or stop asking); returns itself.

        Raises
        ------
        RuntimeError
            If it holds no floating numbers, or is no leaf and asked to stop.
        """
        if requires_grad and self._array.dtype.kind != "f":
            raise RuntimeError(f"requires_grad_: only floating tensors can require a gradient, this one is {self.dtype}")
        if source(self) is not None and self._node is not None:
            if not requires_grad:
                raise RuntimeError("requires_grad_: only a leaf can stop requiring a gradient; write x.detach() instead")
            return self
        if requires_grad != self._requires_grad:
            self._tell("requires_grad_() is called")
        self._requires_grad = requires_grad
        return self

    @property
    def is_leaf(self) -> bool:
        """Whether no recorded op made it."""
        source(self)
        return self._node is None

    @property
    def grad_fn(self) -> Any:
        """The node of the tape that made it; None for a leaf."""
        source(self)
        return self._node

    def backward(
        self, gradient: Any = None, retain_graph: bool | None = None, create_graph: bool = False, inputs: Any = None
    ) -> None:
        """Add this tensor's gradient to the ``.grad`` of every leaf it was computed from; see `minidl.autograd.backward`."""
        sweep.backward(self, gradient, retain_graph, create_graph, inputs)

    @effect  # a compiled step does it again
    def detach(self) -> Tensor:
        """The same memory without the history."""
        out: Tensor = wrap(self._array)
        out._counter = counter(self)
        return out

    def detach_(self) -> Tensor:
        """Forget its own history; returns itself."""
        if self._base is not None:
            raise RuntimeError("detach_: a view cannot forget its history in place; use detach()")
        self._tell("detach_() is called")
        self._node, self._requires_grad = None, False
        self._epoch += 1
        return self

    @property
    def data(self) -> Tensor:
        """The same memory without the history, and without notice of changes: PyTorch's back door. Prefer `detach`."""
        self._tell(".data is read")
        out: Tensor = wrap(self._array)
        return out

    @data.setter
    def data(self, value: Tensor) -> None:
        if not isinstance(value, TensorBase):
            raise TypeError(f"data: expected a Tensor, got {type(value).__name__}")
        self._tell(".data is set")
        self._array = value._array

    @property
    def grad(self) -> Any:
        """The gradient that `backward` has added up here; None before, and to start again."""
        if mode.watcher is not None:
            mode.watcher.seen(self, ".grad is read")
        return self._grad

    @grad.setter
    def grad(self, value: Any) -> None:
        if value is not None and not isinstance(value, TensorBase):
            raise TypeError(f"grad: expected a Tensor or None, got {type(value).__name__}")
        if value is not None and (value._array.shape != self._array.shape or value._array.dtype != self._array.dtype):
            raise RuntimeError(
                f"grad: a gradient of shape {value._array.shape} and {value._array.dtype} does not fit "
                f"a tensor of shape {self.shape} and {self._array.dtype}"
            )
        if value is not None and value.device != self.device:  # type: ignore[attr-defined]
            raise RuntimeError(f"grad: a gradient on {value.device} does not fit a tensor on {self.device}")  # type: ignore[attr-defined]
        self._tell(".grad is set")
        self._grad = value

    @grad.deleter
    def grad(self) -> None:
        self.grad = None

    def retain_grad(self) -> None:
        """Keep the gradient in ``.grad`` although this is no leaf."""
        node = source(self)
        if node is None:
            raise RuntimeError("retain_grad: this tensor does not require a gradient")
        self._tell("retain_grad() is called")
        if isinstance(node, tape.Node):
            node.retained = weakref.ref(self)

    @property
    def retains_grad(self) -> Any:
        """Whether `retain_grad` was called on it."""
        retained = getattr(source(self), "retained", None)
        return retained is not None and retained() is self

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> Any:
        """Call ``hook(grad)`` whenever this tensor's gradient is complete; what it returns, if not None, takes its place.

        Returns a handle with a method ``remove()``.
        """
        target: Any = source(self)
        if target is None:
            raise RuntimeError("register_hook: this tensor does not require a gradient")
        self._tell("a hook is registered")
        name = "hooks" if isinstance(target, tape.Node) else "_hooks"
        hooks = getattr(target, name)
        if hooks is None:
            hooks = {}
            setattr(target, name, hooks)
        return tape.Handle(hooks, hook)

    # -- leaving minidl, and other copies

    def numpy(self, *, force: bool = False) -> np.ndarray[Any, Any]:
        """The NumPy array behind it, sharing memory.

        Raises
        ------
        RuntimeError
            If it requires a gradient, since changes of the array would pass unseen: use ``detach().numpy()`` or ``force``.
        TypeError
            If it is on a GPU: use ``cpu().numpy()``, or ``force`` for a copy.
        """
        if self.requires_grad and not force:
            raise RuntimeError("numpy: this tensor requires a gradient; use minidl's functions, not NumPy's, or detach() it")
        self._tell("numpy() reads it")
        if self.is_cuda and not force:
            raise TypeError(f"numpy: this tensor is on {self.device}; use tensor.cpu() to copy it to the host's memory first")
        return devices.on_host(self._array)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        return np.array(self.numpy(), dtype, copy=copy)

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: Any = False) -> Any:
        return creation.from_numpy(np.asarray(array))  # what NumPy's functions of one array give back

    def __dlpack__(self, **options: Any) -> Any:
        if self.requires_grad:
            raise BufferError("dlpack: a tensor that requires a gradient cannot be handed on; use tensor.detach()")
        self._tell("dlpack reads it")
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self._array.__dlpack_device__()

    @property
    def __cuda_array_interface__(self) -> Any:
        if not self.is_cuda:
            raise AttributeError(f"__cuda_array_interface__: this tensor is on {self.device}; use tensor.cuda() first")
        self._tell("__cuda_array_interface__ reads it")
        return self.detach()._array.__cuda_array_interface__

    def _tell(self, how: str) -> None:
        """Tell a watcher of what it cannot see: where numbers go that leave for Python, say."""
        if mode.watcher is not None:
            mode.watcher.seen(self, how)

    def item(self) -> Any:
        """The number in a tensor of one element, as a Python number."""
        if self._array.size != 1:
            raise RuntimeError(f"item: a tensor of {self._array.size} elements (shape {self.shape}) is not one number")
        self._tell("item() reads it")
        return self._settled().item()

    def tolist(self) -> Any:
        """The numbers as nested lists."""
        self._tell("tolist() reads it")
        return self._settled().tolist()

    def _settled(self) -> Any:
        """The array, to be read by the host, which waits for the GPU: if anything went wrong there it is said now."""
        if backend.gpu is not None:
            devices.settle()
        return self._array

    def to(self, *args: Any, dtype: Any = None, device: Any = None, copy: bool = False, non_blocking: bool = False) -> Tensor:
        """In another dtype or on another device: ``to(float64)``, ``to("cuda")``, ``to(other)``, ``to(device, dtype)``.

        Itself if it is so already, unless ``copy``. On the way to a GPU it is in row-major order. With ``non_blocking`` a copy
        of pinned memory to a GPU does not wait for the GPU; one to the CPU waits always.
        """
        for arg in args:
            if isinstance(arg, TensorBase):
                dtype, device = arg._array.dtype, device_of(arg._array)
            elif isinstance(arg, bool):
                raise TypeError("to: give non_blocking and copy by name")
            elif isinstance(arg, int) or str(arg).partition(":")[0] in ("cpu", "cuda"):
                device = arg
            elif arg is not None:
                dtype = arg
        here, out = device_of(self._array), self
        where = here if device is None else check_device(device, "to")
        wanted = self._array.dtype if dtype is None else dtypes.as_dtype(dtype).dtype
        if wanted != self._array.dtype:
            out = cast(out, wanted)
        if where != here:
            out = move(out, where, non_blocking)
        return layout.copy(self) if out is self and copy else out

    def type(self, dtype: Any) -> Tensor:
        """Itself in another dtype."""
        return self.to(dtype)

    def type_as(self, other: Tensor) -> Tensor:
        """Itself in ``other``'s dtype."""
        return self.to(other.dtype)

    def float(self) -> Tensor:
        """Itself in float32."""
        return self.to(dtypes.float32)

    def double(self) -> Tensor:
        """Itself in float64."""
        return self.to(dtypes.float64)

    def half(self) -> Tensor:
        """Itself in float16."""
        return self.to(dtypes.float16)

    def char(self) -> Tensor:
        """Itself in int8."""
        return self.to(dtypes.int8)

    def long(self) -> Tensor:
        """Itself in int64."""
        return self.to(dtypes.int64)

    def int(self) -> Tensor:
        """Itself in int32."""
        return self.to(dtypes.int32)

    def short(self) -> Tensor:
        """Itself in int16."""
        return self.to(dtypes.int16)

    def byte(self) -> Tensor:
        """Itself in uint8."""
        return self.to(dtypes.uint8)

    def bool(self) -> Tensor:
        """Whether each element is not 0."""
        return self.to(dtypes.bool_)

    def cpu(self) -> Tensor:
        """Itself in the CPU's memory."""
        return self.to("cpu")

    def cuda(self, device: Any = None, non_blocking: Any = False) -> Tensor:
        """Itself in a GPU's memory: the current one's, or that of the ``device`` given, which may be a number."""
        return self.to(device="cuda" if device is None else device, non_blocking=non_blocking)

    new_tensor: Method = new_method(creation.tensor)
    new_empty: Method = new_method(creation.empty)
    new_zeros: Method = new_method(creation.zeros)
    new_ones: Method = new_method(creation.ones)
    new_full: Method = new_method(creation.full)

    # -- as Python sees it

    def __repr__(self) -> str:
        self._tell("it is printed")
        return tensor_text(self)

    def __format__(self, spec: str) -> str:
        return object.__format__(self, spec) if self.ndim else format(self.item(), spec)

    def __len__(self) -> Any:
        if not self.ndim:
            raise TypeError("len: a tensor without dimensions has no length")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        if not self.ndim:
            raise TypeError("iter: a tensor without dimensions cannot be iterated over")
        return iter(joining.unbind(self))

    def __contains__(self, element: Any) -> Any:
        return (self == element).any().item()

    def __bool__(self) -> Any:
        if self._array.size != 1:
            raise RuntimeError(f"bool: a tensor of {self._array.size} elements is neither true nor false; use any() or all()")
        self._tell("bool() reads it")
        return self._settled().item() != 0

    def __float__(self) -> Any:
        return float(self.item())

    def __int__(self) -> Any:
        return int(self.item())

    def __index__(self) -> Any:
        if self._array.dtype.kind == "f":
            raise TypeError("index: only an integer tensor of one element can be used as an index")
        return int(self.item())

    def __deepcopy__(self, memo: dict[Any, Any]) -> Any:
        if not self.is_leaf:
            raise RuntimeError("deepcopy: only leaf tensors can be copied deeply; use detach().clone()")
        self._tell("deepcopy() reads it")
        out = wrap(self._array.copy())
        memo[id(self)] = out
        out.__class__, out._requires_grad = self.__class__, self._requires_grad
        out.grad = copy.deepcopy(self.grad, memo)
        return out

    def __reduce__(self) -> Any:
        if not self.is_leaf:
            raise RuntimeError("pickle: only leaf tensors can be pickled; use detach()")
        self._tell("it is pickled or copied")
        return _rebuild, (self.__class__, self._array, self._requires_grad)

    __hash__ = TensorBase.__hash__

    # -- indexing

    __getitem__: Method = index.getitem

    def __setitem__(self, key: Any, value: Any) -> None:
        self._put(key, value, "setitem")

    def _put(self, key: Any, value: Any, op: str) -> Tensor:
        """Write ``value`` at ``key``, for the method ``op``."""
        if not is_operand(value):
            raise TypeError(f"{op}: the value must be a Tensor, an array or a number, got {type(value).__name__}")
        basic, rest = index.split_key(key, self)
        part = index.getitem(self, basic) if basic else self
        inplace.change_part(part, index.put.op, rest, value, op)
        return self

    # -- operators

    __add__: Method = operator_method(elementwise.add)
    __radd__: Method = swapped_method(elementwise.add)
    __sub__: Method = operator_method(elementwise.sub)
    __rsub__: Method = swapped_method(elementwise.sub)
    __mul__: Method = operator_method(elementwise.mul)
    __rmul__: Method = swapped_method(elementwise.mul)
    __truediv__: Method = operator_method(elementwise.div)
    __rtruediv__: Method = swapped_method(elementwise.div)
    __floordiv__: Method = operator_method(elementwise.floor_divide)
    __rfloordiv__: Method = swapped_method(elementwise.floor_divide)
    __mod__: Method = operator_method(elementwise.remainder)
    __rmod__: Method = swapped_method(elementwise.remainder)
    __pow__: Method = operator_method(elementwise.pow)
    __rpow__: Method = swapped_method(elementwise.pow)
    __matmul__: Method = operator_method(linear.matmul)
    __rmatmul__: Method = swapped_method(linear.matmul)
    __neg__: Method = elementwise.neg

    def __pos__(self) -> Tensor:
        if self._array.dtype == bool:
            raise TypeError("pos: + works on numbers, got a bool tensor")
        return self

    __abs__: Method = elementwise.abs
    __invert__: Method = compare.bitwise_not
    __and__: Method = operator_method(compare.bitwise_and)
    __rand__: Method = swapped_method(compare.bitwise_and)
    __or__: Method = operator_method(compare.bitwise_or)
    __ror__: Method = swapped_method(compare.bitwise_or)
    __xor__: Method = operator_method(compare.bitwise_xor)
    __rxor__: Method = swapped_method(compare.bitwise_xor)
    __eq__: Method = operator_method(compare.eq)  # type: ignore[assignment]
    __ne__: Method = operator_method(compare.ne)  # type: ignore[assignment]
    __lt__: Method = operator_method(compare.lt)
    __le__: Method = operator_method(compare.le)
    __gt__: Method = operator_method(compare.gt)
    __ge__: Method = operator_method(compare.ge)

    __iadd__ = in_place_method(elementwise.add, "add_")
    __isub__ = in_place_method(elementwise.sub, "sub_")
    __imul__ = mul_ = in_place_method(elementwise.mul, "mul_")
    __itruediv__ = div_ = in_place_method(elementwise.div, "div_")
    __ifloordiv__ = floor_divide_ = in_place_method(elementwise.floor_divide, "floor_divide_")
    __imod__ = remainder_ = in_place_method(elementwise.remainder, "remainder_")
    __ipow__ = pow_ = in_place_method(elementwise.pow, "pow_")
    __iand__ = in_place_method(compare.bitwise_and, "bitwise_and_")
    __ior__ = in_place_method(compare.bitwise_or, "bitwise_or_")
    __ixor__ = in_place_method(compare.bitwise_xor, "bitwise_xor_")

    # -- methods whose name needs a word

    @property
    def T(self) -> Tensor:
        """The dimensions in reverse order; of a matrix, its transpose."""
        return layout.permute(self, tuple(reversed(range(self.ndim))))

    @property
    def mT(self) -> Tensor:
        """The last two dimensions exchanged."""
        return layout.transpose(self, -1, -2)

    def reshape(self, *shape: Any) -> Tensor:
        """Itself in another shape: a view where memory allows, else a copy."""
        return layout.reshape(self, as_shape(shape, "reshape"))

    def view(self, *shape: Any) -> Tensor:
        """Itself in another shape and the same memory; or, given a dtype of the same width, not supported."""
        if len(shape) == 1 and not isinstance(shape[0], (int, tuple, list, np.integer)):
            raise NotImplementedError("view: a change of dtype is not supported; use .to(dtype)")
        return shaping.view(self, *shape)

    def view_as(self, other: Tensor) -> Tensor:
        """Itself in the shape of ``other``."""
        return shaping.view(self, other.shape)

    def reshape_as(self, other: Tensor) -> Tensor:
        """Itself in the shape of ``other``."""
        return layout.reshape(self, other.shape)

    def flip(self, *dims: Any) -> Tensor:
        """The order reversed along ``dims``."""
        return layout.flip(self, as_shape(dims, "flip"))

    def where(self, condition: Any, other: Any) -> Tensor:
        """Itself where ``condition`` is true, ``other`` elsewhere."""
        return elementwise.where(condition, self, other)

    # -- changes in place that are not an op's

    def fill_(self, value: Any) -> Tensor:
        """Every element set to ``value``, in place."""
        if getattr(value, "ndim", 0):
            raise ShapeError(f"fill_: value must be a number or a tensor without dimensions, got shape {tuple(value.shape)}")
        return self._put(..., value, "fill_")

    def zero_(self) -> Tensor:
        """Every element set to 0, in place."""
        return self._put(..., 0, "zero_")

    def copy_(self, src: Any, non_blocking: Any = False) -> Tensor:
        """The elements of ``src`` (broadcast, and converted to this dtype) put in place of its own."""
        if getattr(src, "ndim", 0) > self.ndim:  # an assignment would leave out leading sizes of 1
            raise ShapeError(f"copy_: a value of shape {tuple(src.shape)} does not fit {self.shape}")
        return self._put(..., src, "copy_")


def _rebuild(cls: Any, array: Any, requires_grad: bool) -> Any:
    out = wrap(array)
    out.__class__, out._requires_grad = cls, requires_grad
    return out


bind(Tensor)
Tensor.__module__ = "minidl"  # where it is to be found, for pickles and error messages
tape.tensor_class = Tensor

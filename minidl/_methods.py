"""How ops become methods of `Tensor`: operators, changes in place, and one table of names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .autograd import inplace
from .autograd.mode import enable_grad, mode
from .autograd.tape import TensorBase, give_history, wrap
from .backend import gpu_types
from .functions import (
    arithmetic,
    counting,
    deviation,
    filling,
    indexing,
    joining,
    ordering,
    products,
    queries,
    sampling,
    selecting,
    shaping,
    statistics,
)
from .ops import compare, elementwise, index, layout, linear, reduce, scan


def swapped_method(op: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    """The method for ``number op tensor``."""

    def method(self: Any, other: Any) -> Any:
        return op(other, self) if is_operand(other) else NotImplemented

    return method


def operator_method(op: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    """The method for ``tensor op other``, which leaves types it does not know to the other side."""

    def method(self: Any, other: Any) -> Any:
        return op(self, other) if is_operand(other) else NotImplemented

    return method


def is_operand(x: Any) -> bool:
    """Whether ``x`` is something that a tensor can be combined with."""
    return isinstance(x, (TensorBase, int, float, np.ndarray, np.generic)) or type(x) in gpu_types


def in_place_method(op: Callable[..., Any], name: str) -> Callable[..., Any]:
    """The method that does ``op`` in place."""

    def method(self: Any, *args: Any, **options: Any) -> Any:
        return inplace.change(self, op, args, options, name)

    method.__name__ = name
    method.__doc__ = f"`{op.__name__.strip('_')}` in place."
    return method


def new_method(make: Callable[..., Any]) -> Callable[..., Any]:
    """The method that makes a tensor with ``make`` as this one is: of its dtype and on its device, unless others are said."""

    def method(self: Any, *args: Any, dtype: Any = None, device: Any = None, **options: Any) -> Any:
        return make(*args, dtype=dtype or self.dtype, device=self.device if device is None else device, **options)

    method.__doc__ = f"`{make.__name__}` in this tensor's dtype, on its device."
    return method


def turned_method(op: Callable[..., Any], name: str) -> Callable[..., Any]:
    """The method that makes of a tensor the view of it that ``op`` gives."""

    def method(self: Any, *args: Any, **options: Any) -> Any:
        self._tell(f"{name}() is called")
        if self._base is not None or self._counter is not None or (mode.recording and self.requires_grad and self.is_leaf):
            raise RuntimeError(
                f"{name}: only a tensor that nothing else looks at (no view, no op that remembers it, no leaf that requires a "
                f"gradient) can be turned in place; write x = x.{name[:-1]}(...)"
            )
        with enable_grad():
            turned = op(wrap(self._array, self._node), *args, **options)
        self._array = turned._array
        give_history(self, turned._node)
        return self

    method.__name__ = name
    method.__doc__ = f"`{op.__name__}` in place."
    return method


# These functions are methods too, with the tensor as first argument ...
METHODS: dict[Any, str] = {
    elementwise: "mul div floor_divide remainder fmod pow neg exp exp2 expm1 log log2 log10 "
    "log1p logaddexp sqrt rsqrt reciprocal sin cos tan asin acos atan atan2 sinh cosh tanh asinh acosh atanh sigmoid erf relu "
    "abs sign floor ceil trunc round maximum minimum clamp",
    compare: "eq ne lt le gt ge logical_and logical_or logical_xor logical_not bitwise_and bitwise_or bitwise_xor bitwise_not "
    "isnan isinf isfinite isclose allclose equal",
    reduce: "sum mean amax amin argmax argmin all any count_nonzero logsumexp softmax log_softmax",
    scan: "prod cumsum cumprod argsort",
    layout: "unsqueeze permute transpose roll contiguous diagonal diag_embed tril triu narrow",
    index: "gather scatter scatter_add nonzero",
    linear: "matmul",
    arithmetic: "add sub addcmul addcdiv square lerp frac masked_fill nan_to_num clamp_min clamp_max fmax fmin signbit "
    "copysign heaviside isposinf isneginf positive float_power ldexp xlogy logaddexp2 hypot logit sinc erfc deg2rad rad2deg",
    shaping: "flatten ravel unflatten squeeze t movedim expand expand_as repeat tile repeat_interleave diag diagflat fliplr "
    "flipud rot90 unfold",
    joining: "split chunk unbind select tensor_split hsplit vsplit dsplit",
    ordering: "max min aminmax sort topk median nanmedian kthvalue mode msort quantile nanquantile cummax cummin",
    products: "mm mv bmm dot outer addmm trace inner vdot kron cross matrix_power addbmm baddbmm addmv addr",
    sampling: "bernoulli multinomial",
    counting: "bincount",
    deviation: "var std norm",
    selecting: "take_along_dim index_select index_add masked_select",
    statistics: "nansum nanmean logcumsumexp diff cov corrcoef histc dist",
    indexing: "argwhere take put index_put index_copy index_fill masked_scatter scatter_reduce unique unique_consecutive",
    queries: "is_complex is_signed is_nonzero is_same_size pin_memory",
    filling: "uniform_ normal_ log_normal_ cauchy_ exponential_ geometric_ bernoulli_ random_ fill_diagonal_",
}
# ... these change it in place too, under their name with a line after it ...
IN_PLACE = (
    "add sub neg square lerp exp exp2 expm1 log log2 log10 log1p sqrt rsqrt reciprocal sin cos tan asin acos atan atan2 sinh "
    "cosh tanh asinh acosh atanh sigmoid erf erfc sinc relu abs sign floor ceil trunc round frac clamp clamp_min clamp_max "
    "masked_fill nan_to_num fmod copysign heaviside ldexp xlogy hypot logit deg2rad rad2deg addcmul addcdiv addmm addbmm "
    "baddbmm addmv addr cumsum cumprod tril triu eq ne lt le gt ge logical_and logical_or logical_xor logical_not bitwise_and "
    "bitwise_or bitwise_xor bitwise_not scatter scatter_add scatter_reduce index_add put index_put index_copy "
    "index_fill masked_scatter"
).split()
# ... these turn the tensor itself, its shape and not its numbers ...
TURNED = "squeeze unsqueeze transpose t".split()
# ... and these are other names for the same, those that change in place too where there are such.
ALIASES = (
    "absolute=abs clip=clamp multiply=mul subtract=sub divide=div true_divide=div negative=neg greater=gt greater_equal=ge "
    "less=lt less_equal=le not_equal=ne swapaxes=transpose swapdims=transpose moveaxis=movedim ndimension=dim sgn=sign "
    "fix=trunc arcsin=asin arccos=acos arctan=atan arctan2=atan2 arcsinh=asinh arccosh=acosh arctanh=atanh broadcast_to=expand"
)


def bind(tensor_class: type) -> None:
    """Make the ops of the table methods of ``tensor_class``."""
    for module, names in METHODS.items():
        for name in names.split():
            setattr(tensor_class, name, getattr(module, name))
    tensor_class.clone = layout.copy  # type: ignore[attr-defined]
    for made, listed in ((in_place_method, IN_PLACE), (turned_method, TURNED)):
        for name in listed:
            setattr(tensor_class, f"{name}_", made(getattr(tensor_class, name), f"{name}_"))
    for pair in ALIASES.split():
        alias, _, name = pair.partition("=")
        for end in ("", "_"):
            if hasattr(tensor_class, name + end):
                setattr(tensor_class, alias + end, getattr(tensor_class, name + end))

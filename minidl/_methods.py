"""How ops become methods of `Tensor`: operators, changes in place, and one table of names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .autograd import inplace
from .autograd.tape import TensorBase
from .functions import arithmetic, joining, ordering, products, sampling, shaping
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
    return isinstance(x, (TensorBase, int, float, np.ndarray, np.generic))


def in_place_method(op: Callable[..., Any], name: str) -> Callable[..., Any]:
    """The method that does ``op`` in place."""

    def method(self: Any, *args: Any, **options: Any) -> Any:
        return inplace.change(self, op, args, options, name)

    method.__name__ = name
    method.__doc__ = f"`{op.__name__.strip('_')}` in place."
    return method


# These functions are methods too, with the tensor as first argument ...
METHODS: dict[Any, str] = {
    elementwise: "mul div floor_divide remainder fmod pow neg addcmul addcdiv exp exp2 expm1 log log2 log10 "
    "log1p logaddexp sqrt rsqrt reciprocal sin cos tan asin acos atan atan2 sinh cosh tanh asinh acosh atanh sigmoid erf relu "
    "abs sign floor ceil trunc round maximum minimum clamp",
    compare: "eq ne lt le gt ge logical_and logical_or logical_xor logical_not bitwise_and bitwise_or bitwise_xor bitwise_not "
    "isnan isinf isfinite isclose allclose equal",
    reduce: "sum mean var std amax amin argmax argmin all any count_nonzero logsumexp softmax log_softmax norm",
    scan: "prod cumsum cumprod argsort bincount unique",
    layout: "unsqueeze permute transpose roll contiguous diagonal diag_embed tril triu narrow",
    index: "gather scatter scatter_add take_along_dim index_select index_add masked_select nonzero",
    linear: "matmul",
    arithmetic: "square lerp frac masked_fill nan_to_num",
    shaping: "flatten ravel unflatten squeeze t movedim expand expand_as repeat tile repeat_interleave diag",
    joining: "split chunk unbind select",
    ordering: "max min aminmax sort topk median",
    products: "mm mv bmm dot outer addmm trace",
    sampling: "bernoulli multinomial",
}
# ... these change it in place too, under their name with a line after it ...
IN_PLACE = (
    "neg square lerp exp exp2 expm1 log log2 log10 log1p sqrt rsqrt reciprocal sin cos tan tanh sigmoid relu abs sign floor "
    "ceil trunc round clamp masked_fill fmod addcmul addcdiv scatter scatter_add index_add"
).split()
# ... and these are other names for the same.
ALIASES = (
    "absolute=abs clip=clamp multiply=mul subtract=sub divide=div true_divide=div negative=neg greater=gt greater_equal=ge "
    "less=lt less_equal=le not_equal=ne swapaxes=transpose swapdims=transpose moveaxis=movedim ndimension=dim clip_=clamp_"
)


def bind(tensor_class: type) -> None:
    """Make the ops of the table methods of ``tensor_class``."""
    for module, names in METHODS.items():
        for name in names.split():
            setattr(tensor_class, name, getattr(module, name))
    tensor_class.clone = layout.copy  # type: ignore[attr-defined]
    for name in IN_PLACE:
        setattr(tensor_class, f"{name}_", in_place_method(getattr(tensor_class, name), f"{name}_"))
    for pair in ALIASES.split():
        alias, _, name = pair.partition("=")
        setattr(tensor_class, alias, getattr(tensor_class, name))

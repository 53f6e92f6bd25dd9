"""What `Module.register_full_backward_hook` does: see the gradients on both sides of a module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._tensor import Tensor
from ..ops.layout import reshape


def watch(
    module: Any, hooks: tuple[Callable[..., Any], ...], args: tuple[Any, ...]
) -> tuple[tuple[Any, ...], Callable[[Any], Any]]:
    """The arguments to call ``module`` with, and a function to pass its output through: then ``hooks`` are called.

    Each tensor argument is passed on as a view of itself: a gradient that reaches the view came through this module.
    """
    wanted = [isinstance(a, Tensor) and a.requires_grad for a in args]
    args = tuple(reshape(a, a.shape) if w else a for a, w in zip(args, wanted))
    grad_input: list[Any] = [None] * len(args)
    grad_output: list[Any] = []
    waiting = {i for i, w in enumerate(wanted) if w}

    def call_hooks() -> None:
        for hook in hooks:
            changed = hook(module, tuple(grad_input), tuple(grad_output))
            if changed is not None:
                grad_input[:] = changed if isinstance(changed, tuple) else (changed,)

    def enter(i: int) -> Callable[[Any], Any]:
        def arrived(g: Any) -> Any:
            grad_input[i] = g
            waiting.discard(i)
            if not waiting:
                call_hooks()
            return grad_input[i]

        return arrived

    for i in tuple(waiting):
        args[i].register_hook(enter(i))

    def leave(output: Any) -> Any:
        outs = output if isinstance(output, tuple) else (output,)
        grad_output[:] = [None] * len(outs)

        def depart(i: int) -> Callable[[Any], None]:
            def left(g: Any) -> None:
                grad_output[i] = g
                if not any(wanted):
                    call_hooks()

            return left

        for i, out in enumerate(outs):
            if isinstance(out, Tensor) and out.requires_grad:
                out.register_hook(depart(i))
        return output

    return args, leave

"""The sweep: gradients travel from the roots back to the leaves, youngest node first.

Birth order is a topological order: an op is born after its inputs. So a sweep from the youngest node to the oldest sees each
gradient complete before it is used, and needs no recursion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any

import numpy as np

from .. import backend, devices
from ..shapes import ShapeError
from .mode import RecordingSwitch, effect, mode
from .op import cast, differentiable
from .tape import Node, TensorBase, boxed, flat_parents, mark_changed, source, wrap


def reachable(roots: Iterable[Any]) -> list[Node]:
    """All nodes that the roots were made from, youngest first."""
    found: set[Node] = set()
    stack = [r for r in roots if isinstance(r, Node)]
    while stack:
        node = stack.pop()
        if node not in found:
            found.add(node)
            for parent in node.parents:
                if isinstance(parent, Node):
                    stack.append(parent)
                elif type(parent) is tuple:
                    stack.extend(p for p in parent if isinstance(p, Node))
    return sorted(found, key=attrgetter("birth"), reverse=True)


def sweep(
    roots: Sequence[Any],
    seeds: Sequence[Any],
    retain_graph: bool,
    create_graph: bool,
    targets: Sequence[Any] | None = None,
) -> dict[Any, Any]:
    """Carry ``seeds``, the gradients of the roots, back through the graph.

    Gradients are arrays, or tensors when ``create_graph``. With ``targets`` (sources) only the way to those is swept.

    Returns
    -------
    dict
        The gradient of each leaf, or of each target, that was reached; arrays in it belong to the caller.
    """
    nodes = reachable(roots)
    needed = None if targets is None else _on_the_way(nodes, targets)
    wanted = frozenset(targets or ())
    found: dict[Any, Any] = {}
    grads: dict[Any, Any] = {}
    watcher = mode.watcher
    new: set[Any] = set()  # whose gradient array nobody else holds, so that it may be added to in place
    for root, seed in zip(roots, seeds):
        _accumulate(grads, new, root, seed, False, create_graph)
    with RecordingSwitch(create_graph), devices.kept():
        for node in nodes:
            g = grads.pop(node, None)
            if g is None or (needed is not None and node not in needed):
                continue
            if backend.gpu is not None:
                devices.use(g, node)
            if isinstance(g, np.generic):  # NumPy makes numbers of arrays without dimensions; a rule may write into a copy of g
                g = np.asarray(g)
            if node.hooks or node.retained is not None:
                g = _show(node, g, create_graph)
            if node in wanted:
                found[node] = g if create_graph else g.copy("K")
                if not any(p in needed for p in flat_parents(node)):  # type: ignore[operator]
                    continue  # the way ends here
            if node.adds_into and watcher is None and not create_graph and node.parents[0] in new and node.parents[0].shape:
                node.add_into(grads[node.parents[0]], g)
                pulled: Any = ()
            else:
                pulled = node.pull(g, create_graph, needed) if watcher is None else watcher.pull(node, g, create_graph, needed)
            for parent, gp, is_new in pulled:
                if gp is None:
                    continue
                like = parent._array if isinstance(parent, TensorBase) else parent
                if backend.several:  # the parent may be on another GPU
                    devices.use(gp)
                if gp.shape != like.shape or gp.dtype != like.dtype:
                    gp, is_new = _fit(gp, like, node, is_new)
                _accumulate(grads, new, parent, gp, is_new, create_graph)
            if not retain_graph:
                node.release()
        for leaf, g in grads.items():
            if needed is None or leaf in needed:
                if backend.several:
                    devices.use(g)
                ours = leaf in new and not leaf._hooks  # a hook may have kept the array it saw
                if leaf._hooks:
                    g = _run_hooks(leaf._hooks, g, create_graph)
                found[leaf] = g if create_graph else _in_order_of(leaf._array, g, ours)
    return found


def _in_order_of(like: Any, g: Any, ours: bool) -> Any:
    """A gradient as an array of its own, in the memory order of its tensor: what can be viewed of one can be of the other."""
    if ours and g.strides == like.strides:
        return g
    out = backend.xp(like).empty_like(like)
    out[...] = g
    return out


def _on_the_way(nodes: list[Node], targets: Sequence[Any]) -> set[Any]:
    """The targets, and every node from which one can be reached."""
    needed = set(targets)
    for node in reversed(nodes):
        if any(p in needed for p in flat_parents(node)):
            needed.add(node)
    return needed


def _accumulate(grads: dict[Any, Any], new: set[Any], parent: Any, g: Any, is_new: bool, graph: bool) -> None:
    """Gradients that reach a tensor by several ways add up."""
    before = grads.get(parent)
    if before is None:
        grads[parent] = g
        if is_new:
            new.add(parent)
    elif parent in new:
        before += g  # in place where it is an array; a NumPy scalar becomes another
        grads[parent] = before
    else:
        grads[parent] = before + g
        if not graph:
            new.add(parent)


def _fit(g: Any, like: Any, node: Node, is_new: bool) -> tuple[Any, bool]:
    """``g`` in the shape and dtype of a parent: what the op broadcast is summed, what it converted converted back."""
    if g.shape != like.shape:
        try:
            g, is_new = sum_to(g, like.shape), False
        except ShapeError:
            raise ShapeError(
                f"backward: a rule of {node.name()} gave a gradient of shape {tuple(g.shape)} "
                f"for an input of shape {like.shape}"
            ) from None
    if g.dtype != like.dtype:
        g = cast(g, like.dtype)
    return g, is_new


def _show(node: Node, g: Any, graph: bool) -> Any:
    """Show a finished gradient to the hooks of its tensor, and leave it in ``.grad`` where that was asked for."""
    g = _run_hooks(node.hooks, g, graph)
    t = node.retained() if node.retained is not None else None
    if t is not None:
        deposit(t, g if graph else g.copy("K"), graph)
    return g


def _run_hooks(hooks: dict[int, Callable[..., Any]] | None, g: Any, graph: bool) -> Any:
    for hook in tuple((hooks or {}).values()):
        changed = hook(g if graph else boxed(g))
        if changed is not None:
            if changed.shape != g.shape:
                raise ShapeError(f"a gradient hook returned shape {changed.shape}, wanted {tuple(g.shape)}")
            g = changed if graph else changed._array
    return g


def deposit(t: Any, g: Any, graph: bool) -> None:
    """Add ``g`` to ``t.grad``; an array becomes the tensor's own."""
    before = t._grad
    if graph:
        t._grad = g if before is None else before + g
    elif before is None:
        t._grad = boxed(g)
    elif before._node is not None:  # it has a history of its own, from create_graph
        t._grad = boxed(before._array + g)
    else:
        before._array += g
        mark_changed(before, "backward")


def seed(output: Any, gradient: Any, graph: bool) -> tuple[Any, Any]:
    """The source of ``output`` and the gradient to start with: 1 for a scalar, else what the caller gives."""
    root = source(output)
    if root is None:
        raise RuntimeError(
            "backward: the tensor does not require a gradient: no input of the computation had requires_grad=True, "
            "it was computed under no_grad(), or by an op without a rule for its gradient"
        )
    array = output._array
    if gradient is None:
        if array.size != 1:
            raise RuntimeError(
                f"backward: the tensor has shape {array.shape}, and only a tensor of one element has a gradient by itself; "
                "reduce it (loss.mean()) or pass backward(gradient) of the same shape"
            )
        gradient = wrap(devices.ones_like(array))
    elif not isinstance(gradient, TensorBase):
        raise TypeError(f"backward: gradient must be a Tensor, got {type(gradient).__name__}")
    elif gradient._array.shape != array.shape:
        raise ShapeError(f"backward: gradient has shape {gradient._array.shape}, the tensor has {array.shape}")
    if gradient._array.dtype != array.dtype:
        gradient = cast(gradient, array.dtype)
    return root, gradient if graph else gradient._array


# -- the shapes of gradients


def _sum_axes(g: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    lead = g.ndim - len(shape)
    if lead < 0 or any(m not in (1, n) for m, n in zip(shape, g.shape[lead:])):
        raise ShapeError(f"sum_to: shape {tuple(g.shape)} is not a broadcast of {shape}")
    return (*range(lead), *(lead + i for i, n in enumerate(shape) if n == 1 and g.shape[lead + i] != 1))


@differentiable
def sum_to(input: Any, shape: Any) -> Any:
    """Sum over what broadcasting stretched, back to ``shape``; the transpose of `broadcast_to`."""
    return input.sum(axis=_sum_axes(input, shape)).reshape(shape)


@differentiable(view=True)
def broadcast_to(input: Any, shape: Any) -> Any:
    """Stretch sizes of 1 to ``shape``; the transpose of `sum_to`."""
    return backend.xp(input).broadcast_to(input, shape)


sum_to.vjp(input=lambda g, input_shape: broadcast_to(g, input_shape))
broadcast_to.vjp(input=lambda g, input_shape: sum_to(g, input_shape))


# -- the calls


def _as_tuple(x: Any) -> tuple[Any, ...]:
    return tuple(x) if isinstance(x, (tuple, list)) else (x,)


def _start(outputs: Any, gradients: Any, graph: bool, op: str) -> tuple[list[Any], list[Any]]:
    outputs = _as_tuple(outputs)
    gradients = (None,) * len(outputs) if gradients is None else _as_tuple(gradients)
    if len(gradients) != len(outputs):
        raise RuntimeError(f"{op}: got {len(gradients)} gradients for {len(outputs)} outputs")
    pairs = [seed(t, g, graph) for t, g in zip(outputs, gradients)]
    return [root for root, _ in pairs], [g for _, g in pairs]


def backward(
    tensors: Any,
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Any = None,
) -> None:
    """Add the gradient of ``tensors`` to the ``.grad`` of every leaf they were computed from.

    Parameters
    ----------
    tensors : Tensor or sequence of them
        Where to start.
    grad_tensors : Tensor, sequence of them or None
        The gradient to start with at each; may be left out for tensors of one element, where it is 1.
    retain_graph : bool, optional
        Keep what the forward pass remembered, for another sweep. Default: the value of ``create_graph``.
    create_graph : bool
        Record the sweep itself, so that the gradients can be differentiated again.
    inputs : Tensor or sequence of them, optional
        Only these get a gradient.
    """
    _backward(tensors, grad_tensors, create_graph if retain_graph is None else retain_graph, create_graph, inputs)


@effect
def _backward(tensors: Any, grad_tensors: Any, retain_graph: bool, create_graph: bool, inputs: Any) -> None:
    roots, seeds = _start(tensors, grad_tensors, create_graph, "backward")
    targets = None if inputs is None else {_wants(t, "backward"): t for t in _as_tuple(inputs)}
    if targets == {}:
        raise RuntimeError("backward: inputs is empty; leave it out to reach every leaf")
    outside, mode.callbacks = mode.callbacks, []
    try:
        found = sweep(roots, seeds, retain_graph, create_graph, None if targets is None else list(targets))
        with devices.kept():
            for origin, g in found.items():
                devices.use(g)
                deposit(origin if targets is None else targets[origin], g, create_graph)
        for callback in mode.callbacks:
            callback()
    finally:
        mode.callbacks = outside


def _wants(t: Any, op: str) -> Any:
    origin = source(t)
    if origin is None:
        raise RuntimeError(f"{op}: one of the inputs (shape {tuple(t.shape)}) does not require a gradient")
    return origin


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    materialize_grads: bool = False,
) -> tuple[Any, ...]:
    """The gradients of ``outputs`` (their sum, weighted by ``grad_outputs``) with respect to ``inputs``; sets no ``.grad``.

    Only the way from ``outputs`` to ``inputs`` is swept.

    Raises
    ------
    RuntimeError
        If an input was not used to compute the outputs, unless ``allow_unused`` (its gradient is then None) or
        ``materialize_grads`` (then zeros).
    """
    if not only_inputs:
        raise NotImplementedError("grad: only_inputs=False is not supported; call backward() to reach every leaf")
    inputs = _as_tuple(inputs)
    roots, seeds = _start(outputs, grad_outputs, create_graph, "grad")
    origins = [_wants(t, "grad") for t in inputs]
    found = sweep(roots, seeds, create_graph if retain_graph is None else retain_graph, create_graph, origins)
    result: list[Any] = []
    for i, (t, origin) in enumerate(zip(inputs, origins)):
        g = found.get(origin)
        if g is not None:
            result.append(g if create_graph else boxed(g))
        elif materialize_grads:
            result.append(wrap(backend.xp(t._array).zeros_like(t._array)))
        elif allow_unused:
            result.append(None)
        else:
            raise RuntimeError(
                f"grad: input {i} (shape {tuple(t.shape)}) was not used to compute the outputs; "
                "pass allow_unused=True to get None for it, or materialize_grads=True for zeros"
            )
    return tuple(result)

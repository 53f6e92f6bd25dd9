"""`export`: the arguments understood, the program traced, and its ops turned into nodes one after the other."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..autograd.mode import no_grad
from ..autograd.tape import TensorBase
from ..compiler.program import Ref
from ..compiler.signature import Untraceable, flatten
from ..devices import device_of
from ..nn.module import Module
from ..serialization import write_whole
from . import elementwise, layers, sequences, shapes  # noqa: F401 (they fill the table)
from .graph import Graph, Tensor
from .sizes import Grown, Size, trials
from .table import ENTRIES, promoted
from .trace import Program, program

OLDEST = 18  # of the versions of ONNX's operators: the first that has them in the form that is written here


def export(
    model: Any,
    args: Any = (),
    f: Any = None,
    *,
    kwargs: dict[str, Any] | None = None,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    opset_version: int = OLDEST,
    dynamic_axes: Mapping[str, Any] | None = None,
    verify: bool = False,
) -> None:
    """Write ``model(*args, **kwargs)`` to ``f`` as an ONNX file; wants ``pip install "minidl[onnx]"``.

    The model is run in `eval` mode on copies of the arguments, and the ops that it runs are written down: of an ``if`` on
    Python's values only the branch that was taken. Sizes are what they are in ``args``, but for those that ``dynamic_axes``
    names: with them the model is run several times, in several sizes.

    Parameters
    ----------
    model : Module or function
        What to export.
    args : tensor or tuple
        Example arguments; what is no tensor becomes part of the file.
    f : path or binary file
        Where to.
    kwargs : dict, optional
        Arguments by name.
    input_names, output_names : sequence of str, optional
        What the inputs and outputs are called in the file; by default inputs as ``model.forward`` calls them, and
        ``output``, or ``output_0`` and so on.
    opset_version : int
        Of ONNX's operators, from 18 on.
    dynamic_axes : dict, optional
        Which sizes may differ from the example: ``{"x": {0: "batch"}}``, or a list of axes for the dict. Axes of one name are
        always of one size. Outputs may be named too.
    verify : bool
        Run the file in onnxruntime and compare its outputs with the model's.

    Raises
    ------
    NotImplementedError
        If an op has no entry in the table: the error names it, and the line that called it.
    RuntimeError
        If what the model does depends on more than the ops show: numbers made of its inputs that leave for Python, random
        numbers, a change of a part of a tensor in place, hooks; or if ``verify`` finds a difference.
    ImportError
        If onnx is not installed.

    Examples
    --------
    >>> from minidl import nn, onnx, randn
    >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    >>> onnx.export(net, randn(2, 4), "net.onnx", input_names=["x"], dynamic_axes={"x": {0: "batch"}})  # doctest: +SKIP
    """
    _check(model, f, opset_version)
    args = args if isinstance(args, tuple) else (args,)
    tensors: list[Any] = []
    try:
        flatten((args, kwargs or {}), tensors, "an argument")
    except Untraceable as error:
        raise TypeError(f"onnx.export: {error}") from None
    if any(device_of(t._array).type != "cpu" for t in (*tensors, *_named(model))):
        raise RuntimeError("onnx.export: wants the model and its arguments on the CPU; write model.cpu()")
    names = _input_names(model, args, kwargs or {}, tensors, input_names)
    axes = _axes(dynamic_axes or {}, names, tensors, output_names)
    sizes = {name: t.shape[axis] for t, own in zip(tensors, axes) for axis, name in own.items()}
    modes = [(module, module.training) for module in (model.modules() if isinstance(model, Module) else ())]
    try:
        if modes:
            model.eval()
        found = program(model, args, kwargs or {}, axes, trials(sizes))
        with no_grad():
            data = _model(found, model, names, axes, output_names, dynamic_axes or {}, opset_version)
            if verify:
                _verify(data, model, args, kwargs or {}, tensors)
    except Untraceable as error:
        raise RuntimeError(f"onnx.export: {error}") from None
    finally:
        for module, training in modes:
            module.training = training
    if hasattr(f, "write"):
        f.write(data)
    else:
        write_whole(data, f, "onnx.export")


# -- the arguments


def _check(model: Any, f: Any, opset_version: int) -> None:
    try:
        import onnx
    except ImportError as error:
        raise ImportError(f'onnx.export: onnx cannot be imported ({error}); pip install "minidl[onnx]"') from None
    if not callable(model):
        raise TypeError(f"onnx.export: model must be a Module or a function, got {type(model).__name__}")
    if not hasattr(f, "write") and not isinstance(f, (str, bytes, os.PathLike)):
        raise TypeError(f"onnx.export: f must be a path or a binary file, got {type(f).__name__}; args come before it")
    newest = onnx.defs.onnx_opset_version()
    if not OLDEST <= opset_version <= newest:
        raise ValueError(
            f"onnx.export: opset_version must be between {OLDEST} and {newest}, onnx's newest; got {opset_version}"
        )


def _named(model: Any) -> dict[Any, str]:
    """The parameters and buffers, with their names."""
    if not isinstance(model, Module):
        return {}
    return {t: name for name, t in (*model.named_buffers(), *model.named_parameters())}


def _input_names(model: Any, args: Any, kwargs: Any, tensors: list[Any], given: Sequence[str] | None) -> list[str]:
    if given is not None:
        names = list(given)
        if len(names) != len(tensors) or len(set(names)) != len(names):
            raise ValueError(
                f"onnx.export: input_names must be {len(tensors)} different names, one for each tensor; got {names}"
            )
        return names
    bound = inspect.signature(getattr(model, "forward", model)).bind(*args, **kwargs).arguments
    names = []
    for name, value in bound.items():
        inside: list[Any] = []
        flatten(value, inside, name)
        names += [name] if isinstance(value, TensorBase) else [f"{name}_{i}" for i in range(len(inside))]
    return names


def _as_dict(name: str, axes: Any) -> dict[int, str]:
    return dict(axes) if isinstance(axes, Mapping) else {axis: f"{name}_dynamic_axes_{i + 1}" for i, axis in enumerate(axes)}


def _axes(
    dynamic: Mapping[str, Any], names: list[str], tensors: list[Any], outputs: Sequence[str] | None
) -> list[dict[int, str]]:
    """For each input its axes that have a name."""
    unknown = set(dynamic) - set(names) - set(outputs or ())
    if unknown:
        raise ValueError(f"onnx.export: dynamic_axes names {sorted(unknown)}; the inputs are {names}, the outputs {outputs}")
    found, sizes = [], dict[str, int]()
    for name, t in zip(names, tensors):
        own = {}
        for axis, size in _as_dict(name, dynamic.get(name, {})).items():
            if not -t.ndim <= axis < t.ndim:
                raise ValueError(f"onnx.export: dynamic_axes: {name!r} of shape {tuple(t.shape)} has no axis {axis}")
            n = t.shape[axis]
            if not n or sizes.setdefault(size, n) != n:
                raise ValueError(
                    f"onnx.export: dynamic_axes: {size!r} is {sizes.get(size)} here and {n} there; wants one, not 0"
                )
            own[axis % t.ndim] = size
        found.append(own)
    return found


# -- the file


def _model(
    found: Program,
    model: Any,
    names: list[str],
    axes: list[dict[int, str]],
    output_names: Sequence[str] | None,
    dynamic: Mapping[str, Any],
    opset_version: int,
) -> bytes:
    """The file's content."""
    import onnx
    from onnx import helper

    n = len(found.outputs)
    outputs = list(output_names) if output_names is not None else [f"output_{i}" for i in range(n)] if n > 1 else ["output"]
    if len(outputs) != n or len({*names, *outputs}) != len(names) + n:
        raise ValueError(f"onnx.export: output_names must be {n} names that no other output or input has, got {outputs}")
    g = Graph({name: (names[i], axis) for i, own in enumerate(axes) for axis, name in own.items()})
    g.names.update(names, outputs)
    values = [Tensor(name, v.shape, v.dtype) for name, v in zip(names, found.values)]
    values += [Tensor("", v.shape, v.dtype) for v in found.values[len(names) :]]
    known = _named(model)
    for number, t in found.constants.items():
        array = t._array if isinstance(t, TensorBase) else None
        name = g.grown(t) if isinstance(t, Grown) else g.constant(array, g.name(known.get(t, "constant")))
        values[number] = values[number]._replace(name=name)
    for step, site in zip(found.steps, found.sites):
        _add(g, step, site, values, found)
    for name, number in zip(outputs, found.outputs):
        g.nodes.append(helper.make_node("Identity", [values[number].name], [name]))
    infos = [
        [_info(name, values[i], own) for i, (name, own) in enumerate(zip(names, axes))],
        [_info(name, values[i], _as_dict(name, dynamic.get(name, {})), True) for name, i in zip(outputs, found.outputs)],
    ]
    arrays = [onnx.numpy_helper.from_array(array, name) for name, array in g.arrays.items()]
    opsets = [helper.make_opsetid("", opset_version)]
    graph = helper.make_graph(g.nodes, type(model).__name__, *infos, arrays)
    made = helper.make_model(graph, opset_imports=opsets, producer_name="minidl")
    made.ir_version = helper.find_min_ir_version_for(opsets)  # so that older runtimes read it
    if made.ByteSize() >= 1 << 31:
        raise ValueError("onnx.export: an ONNX file in one piece holds less than 2 GiB, and this network is larger")
    onnx.checker.check_model(made, full_check=True)
    return bytes(made.SerializeToString())


def _add(g: Graph, step: Any, site: str, values: list[Tensor], found: Program) -> None:
    """The nodes of a step."""
    op, where = step.function, os.path.basename(site)
    g.label, g.site, g.out = op.name, f"{op.name}, {where}", found.values[step.out]
    function = ENTRIES.get(op)
    if function is None:
        raise NotImplementedError(f"onnx.export: the op {op.name} ({site}) has no entry in the table of minidl.onnx")
    args = list(_filled(step.args, values))
    try:
        name = function(g, *promoted(g, op, args))
    except NotImplementedError as error:
        raise NotImplementedError(f"onnx.export: {op.name} ({site}): {error}") from None
    values[step.out] = values[step.out]._replace(name=name)


def _filled(x: Any, values: list[Tensor]) -> Any:
    """Arguments with tensors in the place of their numbers."""
    if type(x) is Ref:
        return values[x.number]
    return type(x)([_filled(each, values) for each in x]) if type(x) in (tuple, list) else x


def _info(name: str, value: Tensor, axes: dict[int, str], is_output: bool = False) -> Any:
    """Name, dtype and shape of an input or output."""
    from onnx import helper

    shape: list[Any] = []
    for axis, size in enumerate(value.shape):
        called = axes.get(axis, axes.get(axis - value.ndim))
        if is_output and called and isinstance(size, int):
            raise ValueError(
                f"onnx.export: dynamic_axes: axis {axis} of the output {name!r} is {size}, whatever the inputs' sizes"
            )
        shape.append(called or (size.name if isinstance(size, Size) else size))
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), shape)


def _verify(data: bytes, model: Callable[..., Any], args: Any, kwargs: Any, tensors: list[Any]) -> None:
    """Compare onnxruntime's outputs with the model's."""
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(f'onnx.export: verify wants onnxruntime ({error}); pip install "minidl[onnx]"') from None
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    given = {put.name: t._array for put, t in zip(session.get_inputs(), tensors)}
    wanted: list[Any] = []
    flatten(model(*args, **kwargs), wanted, "what it returns")
    for put, got, t in zip(session.get_outputs(), session.run(None, given), wanted):
        mine = t._array
        close = 1e-4 * max(1.0, float(np.abs(mine).max(initial=0))) if mine.dtype.kind == "f" else 0
        if got.shape != mine.shape or not np.allclose(got, mine, 1e-3, close, equal_nan=True):
            raise RuntimeError(f"onnx.export: the output {put.name!r} differs in onnxruntime from the model's")

"""The public checks of gradients; what they do is in `minidl.testing.check`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .check import Check, GradcheckError, as_tuple, checked_places, spread
from .engine import Engine


def gradcheck(
    func: Callable[..., Any],
    inputs: Any,
    *,
    eps: float | None = None,
    atol: float | None = None,
    rtol: float | None = None,
    seed: int = 0,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    fast_mode: bool | None = None,
    engine: Any = None,
) -> bool:
    """Check the gradients of ``func``, a function of tensors, against differences.

    Checked on the way: inputs and cotangent are not changed by the forward or the backward pass, outputs are finite, a second
    call gives the same and so does one that is not recorded, gradients have the shape and dtype of their inputs and memory of
    their own, and a cotangent whose memory is not contiguous makes no difference.

    An element at which the function has a kink (``abs`` at 0), or jumps, has no derivative and is not judged: see
    `minidl.testing.differences` for how one is told. Such elements are named in a `KinkWarning`. If an input consists of
    them, so that nothing was judged, the check fails.

    Parameters
    ----------
    func : function
        Returns a tensor or a tuple; outputs that require no gradient are not judged (if none does, gradients must be zero).
    inputs : Tensor or tuple
        Arguments of ``func``. Tensors with ``requires_grad`` are checked, at least one.
    eps : float, optional
        The widest step of the differences, for numbers around 1. Default: by dtype.
    atol, rtol : float, optional
        Gradients may differ by ``atol + rtol * |numeric|``. Default: by dtype; 1e-9 and 1e-8 in float64. Differences are taken
        in float64 for float32 and float16 too if ``func`` then returns float64; else in the dtype itself, far less exactly.
    seed : int
        Of the random cotangents and directions.
    raise_exception : bool
        Raise if the check fails, or return False.
    nondet_tol : float
        By how much the results of two identical calls may differ.
    fast_mode : bool, optional
        Compare along random directions (True) or every element (False). Default: by the size of the input.
    engine : object, optional
        How to deal with the tensors of another library; see `minidl.testing.Engine`.

    Returns
    -------
    bool
        True if all is well.

    Raises
    ------
    GradcheckError
        If not; names the op, input, index, both numbers and the seed.
    ValueError
        If no input requires a gradient.
    """
    options: dict[str, Any] = {
        "eps": eps,
        "atol": atol,
        "rtol": rtol,
        "seed": seed,
        "nondet_tol": nondet_tol,
        "fast_mode": fast_mode,
    }
    inputs = as_tuple(inputs)
    return _judge(Check("gradcheck", func, inputs, engine or Engine(inputs), **options), raise_exception)


def gradgradcheck(
    func: Callable[..., Any],
    inputs: Any,
    grad_outputs: Any = None,
    *,
    eps: float | None = None,
    atol: float | None = None,
    rtol: float | None = None,
    seed: int = 0,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    fast_mode: bool | None = None,
    engine: Any = None,
) -> bool:
    """Check the second derivatives of ``func``: `gradcheck` of its backward pass, as a function of inputs and cotangents.

    It does not check the first derivatives; call `gradcheck` as well.

    Parameters
    ----------
    grad_outputs : Tensor or tuple, optional
        The cotangents; random ones if not given.
    func, inputs, eps, atol, rtol, seed, raise_exception, nondet_tol, fast_mode, engine
        See `gradcheck`.
    """
    inputs = as_tuple(inputs)
    engine = engine or Engine(inputs)
    checked = checked_places(inputs, engine, "gradgradcheck")
    outputs = [y for y in as_tuple(func(*inputs)) if engine.is_tensor(y) and engine.wants_grad(y)]
    if not outputs:
        raise ValueError("gradgradcheck: no output of func requires a gradient")
    rng = np.random.default_rng(seed)
    cotangents = tuple(engine.tensor(spread(rng, engine.array(y)), True) for y in outputs)
    if grad_outputs is not None:
        cotangents = tuple(engine.tensor(engine.array(v).copy(), True) for v in as_tuple(grad_outputs))

    def backward(*args: Any) -> Any:
        xs, vs = list(args[: len(inputs)]), args[len(inputs) :]
        graph = any(engine.wants_grad(a) for a in args if engine.is_tensor(a))
        for i in checked:
            if not engine.wants_grad(xs[i]):
                xs[i] = engine.tensor(engine.array(xs[i]), True)
        ys = [y for y in as_tuple(func(*xs)) if engine.is_tensor(y) and engine.wants_grad(y)]
        return tuple(g for g in engine.grad(ys, [xs[i] for i in checked], vs, graph) if g is not None)

    options: dict[str, Any] = {
        "eps": eps,
        "atol": atol,
        "rtol": rtol,
        "seed": seed,
        "nondet_tol": nondet_tol,
        "fast_mode": fast_mode,
    }
    check = Check("gradgradcheck", backward, (*inputs, *cotangents), engine, **options)
    check.op = engine.name(outputs[0])
    check.labels = [
        *(f"input {i}" for i in range(len(inputs))),
        *(f"the cotangent of output {i}" for i in range(len(cotangents))),
    ]
    return _judge(check, raise_exception)


def adjointcheck(
    f: Callable[[Any], Any],
    f_transpose: Callable[[Any], Any],
    input: Any,
    *,
    rtol: float | None = None,
    seed: int = 0,
    raise_exception: bool = True,
    engine: Any = None,
) -> bool:
    """Check that ``f_transpose`` is the transpose of the linear map ``f``: ``<f(x), g> = <x, f_transpose(g)>`` for all x and g.

    The backward pass of a linear map is its transpose, and this check is good at any size and in float32, where differences
    are not.

    Parameters
    ----------
    f, f_transpose : function
        From tensor to tensor, or from array to array.
    input : Tensor or array
        Shape and dtype of ``f``'s input; its numbers are replaced by random ones.
    rtol : float, optional
        By how much the two products may differ, relative to ``|f(x)| |g| + |x| |f_transpose(g)|``. Default: by dtype.
    """
    engine = engine or Engine((input,))
    is_tensor = engine.is_tensor(input)

    def plain(x: Any) -> Any:
        return engine.array(x) if engine.is_tensor(x) else np.asarray(x)

    rng = np.random.default_rng(seed)
    x = rng.normal(size=plain(input).shape).astype(plain(input).dtype)
    y = plain(f(engine.tensor(x) if is_tensor else x))
    length = np.sqrt(np.mean(np.square(y, dtype=np.float64))) if y.size else 1.0
    g = (y / (length or 1.0) + rng.normal(size=y.shape)).astype(y.dtype)  # a random one alone would be nearly orthogonal to y
    back = plain(f_transpose(engine.tensor(g) if is_tensor else g))
    rtol = {"float64": 1e-12, "float32": 1e-5, "float16": 2e-2}[y.dtype.name] if rtol is None else rtol
    said = None
    if back.shape != x.shape:
        said = f"f_transpose gave shape {back.shape} for an input of shape {x.shape}"
    else:
        x, y, g, back = (a.astype(np.float64) for a in (x, y, g, back))
        there, here = np.sum(y * g), np.sum(x * back)
        size = np.linalg.norm(y) * np.linalg.norm(g) + np.linalg.norm(x) * np.linalg.norm(back)
        if not abs(there - here) <= rtol * size:
            said = f"<f(x), g> = {there:.10g} but <x, f_transpose(g)> = {here:.10g}, ratio {here / there:.10g}"
    if said and raise_exception:
        raise GradcheckError(f"adjointcheck: {said} (shapes {x.shape} -> {y.shape}, seed {seed})")
    return said is None


def _judge(check: Check, raise_exception: bool) -> bool:
    try:
        check.run()
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True

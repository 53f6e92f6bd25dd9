"""`Optimizer`: hold parameters in groups, keep a state for each, walk over those that have a gradient."""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np

from .. import backend, devices
from .._tensor import Tensor
from ..autograd import enable_grad, no_grad
from ..autograd.mode import mode
from ..autograd.tape import Handle, call_site, mark_changed, wrap
from ..backend import kernels, xp
from ..dtypes import float64, get_default_dtype
from ..nn.module import clear_grads

ON_CPU = "step", "mu_product"  # of what is kept for a parameter: single numbers that the host works with


class Optimizer:
    """The base of all optimisers. A subclass says in `update` what happens to one parameter.

    Parameters
    ----------
    params : iterable
        Tensors, or pairs of a name and a tensor, such as ``module.named_parameters()``; or dictionaries, one for each group,
        with these under ``"params"`` and options of its own beside them.
    defaults : dict
        The options of groups that do not have their own.

    Raises
    ------
    TypeError
        If ``params`` is a single tensor, or holds something else.
    ValueError
        If there is none, one is no leaf, one is in two groups, or only some have names.
    """

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError(f"{type(self).__name__}: params must be an iterable of tensors, got one Tensor; write [tensor]")
        if not isinstance(params, Iterable):
            raise TypeError(
                f"{type(self).__name__}: params must be an iterable of tensors, got {type(params).__name__}; "
                "a module's are module.parameters()"
            )
        self.defaults = defaults
        self.state: dict[Any, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        self._pre_hooks: dict[int, Any] = {}
        self._post_hooks: dict[int, Any] = {}
        groups = list(params)
        if not groups:
            raise ValueError(f"{type(self).__name__}: got an empty parameter list")
        for group in groups if isinstance(groups[0], dict) else [{"params": groups}]:
            self.add_param_group(group)

    def _refuse(self, **options: Any) -> None:
        """Say that options of PyTorch's which are set have no counterpart here."""
        for name, value in options.items():
            if value:
                raise NotImplementedError(f"{type(self).__name__}: {name}={value!r} is not supported; leave it out")

    def _check(self, betas: Any = (0.0, 0.0), **options: Any) -> None:
        """Refuse negative options, and betas outside [0, 1)."""
        for name, value in options.items():
            if isinstance(value, Tensor):
                raise TypeError(f"{type(self).__name__}: {name} must be a number, got a Tensor; write {name}.item()")
            if not value >= 0:
                raise ValueError(f"{type(self).__name__}: {name} must not be negative, got {value}")
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"{type(self).__name__}: betas must be two numbers from 0 up to but without 1, got {betas}")

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group: a dictionary with tensors under ``"params"``, and options that differ from the defaults."""
        name = type(self).__name__
        if not isinstance(param_group, dict):
            raise TypeError(f"{name}: a parameter group must be a dict, got {type(param_group).__name__}")
        params = param_group["params"]
        if isinstance(params, set):
            raise TypeError(f"{name}: params must be in an order, and a set has none; use a list")
        group = {**self.defaults, **param_group}
        params = [params] if isinstance(params, Tensor) else list(params)
        names = [p[0] for p in params if isinstance(p, tuple)]
        if names:
            if len(names) != len(params):
                raise ValueError(f"{name}: either all parameters of a group come with names or none, here {len(names)} do")
            params, group["param_names"] = [p for _, p in params], names
        for p in params:
            if not isinstance(p, Tensor):
                raise TypeError(f"{name}: can only optimise Tensors, got {type(p).__name__}")
            if not p.is_leaf:
                raise ValueError(f"{name}: can only optimise leaf tensors, this one was computed by {p.grad_fn!r}")
        if len({id(p) for p in params}) != len(params):
            warnings.warn(f"{name}: a parameter is in this group twice; it will be updated twice a step", stacklevel=2)
        if not {id(p) for p in self._all()}.isdisjoint(map(id, params)):
            raise ValueError(f"{name}: a parameter appears in more than one group")
        if any(("param_names" in other) != ("param_names" in group) for other in self.param_groups):
            raise ValueError(f"{name}: either all groups have parameters with names or none")
        if isinstance(group.get("lr"), Tensor):
            raise TypeError(f"{name}: lr must be a number, got a Tensor; write lr.item()")
        self.param_groups.append({**group, "params": params})

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of all parameters, or set them to 0."""
        clear_grads(self._all, set_to_none)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient.

        Parameters
        ----------
        closure : function, optional
            Computes the loss anew, with gradients; called first.

        Returns
        -------
        The loss that ``closure`` returned, or None.

        Raises
        ------
        NotImplementedError
            If there are both a closure and hooks.
        """
        loss = None
        if closure is not None:
            if self._pre_hooks or self._post_hooks:
                raise NotImplementedError(f"{type(self).__name__}.step: hooks and a closure together are not supported")
            with enable_grad():
                loss = closure()
        self.steps_taken = True
        if mode.watcher is None:
            self._update_all()
        else:
            mode.watcher.optimizer(self, self._update_all)
        return loss

    def _update_all(self) -> None:
        name, site = f"{type(self).__name__}.step", call_site()
        for hook in [*self._pre_hooks.values()]:
            if hook(self, (self,), {}) is not None:
                raise NotImplementedError(f"{name}: a hook must return None; it cannot change the arguments of step")
        with devices.kept():
            for group in self.param_groups:
                params = [p for p in group["params"] if p._grad is not None]
                for own in self._by_gpu(params) if backend.gpu is not None else (params,):
                    self.update_group([(p._array, p._grad._array, self.state[p]) for p in own], group)
                for p in params:
                    mark_changed(p, name, site)
        for hook in [*self._post_hooks.values()]:
            hook(self, (self,), {})

    def _by_gpu(self, params: list[Any]) -> Iterator[list[Any]]:
        """The parameters of each device in turn, while CuPy works on it, their states brought there."""
        found: dict[Any, list[Any]] = {}
        for p in params:
            found.setdefault(devices.device_of(p._array), []).append(p)
        for place, own in found.items():
            devices.use(own[0]._array)
            for p in own:
                _bring_along(self.state[p], place)
            yield own

    def register_step_pre_hook(self, hook: Callable[..., None]) -> Handle:
        """Call ``hook(optimizer, args, kwargs)`` at the start of each `step`; the handle's ``remove()`` takes it out again.

        PyTorch's hooks may change the arguments of `step`; these cannot: ``args`` is ``(optimizer,)`` and ``kwargs`` is empty.
        """
        return Handle(self._pre_hooks, hook)

    def register_step_post_hook(self, hook: Callable[..., None]) -> Handle:
        """Call ``hook(optimizer, args, kwargs)`` at the end of each `step`; the handle's ``remove()`` takes it out again."""
        return Handle(self._post_hooks, hook)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pre_hooks": {}, "_post_hooks": {}}

    _can_be_captured = False  # into a CUDA graph: whether all that changes from step to step is told to kernels anew
    steps_taken = False  # whether `step` was ever called; a scheduler wants to know

    def update(self, param: Any, grad: Any, state: dict[str, Any], group: dict[str, Any]) -> None:
        """Change the array ``param`` in place, given the array ``grad``, what is remembered for it, and the group's options."""
        raise NotImplementedError(f"{type(self).__name__} has no update")

    def update_group(self, params: list[tuple[Any, Any, dict[str, Any]]], group: dict[str, Any]) -> None:
        """`update` for each of a group's parameters on one device: given are param, grad and state of each."""
        for param, grad, state in params:
            self.update(param, grad, state, group)

    def _count(self, param: Any, state: dict[str, Any], *names: str) -> float:
        """Count the step, and say which one it is. The first one starts ``state``: zeros like ``param`` under each name.

        The count is on the CPU, wherever the parameter is, so that nobody has to wait for it.
        """
        if "step" not in state:
            state["step"] = wrap(np.zeros((), step_dtype()))
            for name in names:
                state[name] = wrap(xp(param).zeros_like(param))
        step = state["step"]._array
        step += 1
        return float(step)

    # -- saving and loading

    def state_dict(self) -> dict[str, Any]:
        """The state in PyTorch's layout: ``{"state": {number: {name: tensor}}, "param_groups": [{..., "params": [numbers]}]}``.

        Parameters are numbered through all groups. The tensors share memory with the optimiser's.
        """
        number = {id(p): i for i, p in enumerate(self._all())}
        groups = [{**_options(group), "params": [number[id(p)] for p in group["params"]]} for group in self.param_groups]
        state = {number[id(p)]: dict(kept) for p, kept in self.state.items() if kept}
        return {"state": state, "param_groups": groups}

    def _all(self) -> list[Any]:
        return [p for group in self.param_groups for p in group["params"]]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a copy of ``state_dict``.

        Raises
        ------
        TypeError, ValueError
            If it is no state, or groups, parameters, options, names or shapes do not fit; the error names what does not, and
            nothing is changed.
        """
        said = f"load_state_dict: wants what {type(self).__name__}.state_dict() returned, with 'state' and 'param_groups'"
        if not isinstance(state_dict, dict):
            raise TypeError(f"{said}, got {type(state_dict).__name__}")
        if not {"state", "param_groups"} <= state_dict.keys():
            raise ValueError(f"{said}, got a dict with {[*state_dict][:4]}")
        saved, params = state_dict["param_groups"], self._all()
        problems = self._wrong_groups(saved)
        if not problems:
            owner = dict(zip((i for group in saved for i in group["params"]), params))
            options = {i: group for group in saved for i in group["params"]}
            for i, kept in state_dict["state"].items():
                if i not in owner:
                    problems.append(f"there is a state for parameter {i}, which is in no group")
                elif not isinstance(kept, dict):
                    problems.append(f"parameter {i}: its state is no dict, but {kept!r:.40}")
                elif kept := {name: value for name, value in kept.items() if value is not None}:  # as older PyTorch's are
                    problems += [f"parameter {i}: {wrong}" for wrong in self._wrong_state(kept, owner[i], options[i])]
        if problems:
            raise ValueError("\n    ".join([f"load_state_dict: the state does not fit this {type(self).__name__}:", *problems]))
        self.state = defaultdict(dict)
        for i, kept in state_dict["state"].items():
            self.state[owner[i]] = {name: _copy(value, owner[i], name) for name, value in kept.items()}
        self.param_groups = [
            {name: own[name] for name in ("params", "param_names") if name in own} | copy.deepcopy(_options(group))
            for own, group in zip(self.param_groups, saved)
        ]

    def _wrong_groups(self, saved: Any) -> list[str]:
        """What of saved groups does not fit these."""
        if not isinstance(saved, list) or not all(isinstance(group, dict) and "params" in group for group in saved):
            return ["its 'param_groups' is no list of groups with 'params'"]
        problems, sizes = [], [len(group["params"]) for group in saved]
        if sizes != (own := [len(group["params"]) for group in self.param_groups]):
            problems.append(f"its groups have {sizes} parameters, the optimiser's {own}")
        for i, group in enumerate(saved):
            lacking = [name for name in self.defaults if name not in group]
            if lacking:
                problems.append(f"group {i} lacks " + ", ".join(map(repr, lacking)))
        return problems

    def _wrong_state(self, kept: Any, param: Any, group: dict[str, Any]) -> Iterator[str]:
        """What is wrong with a parameter's saved state: it must be like what a first step leaves, tried here on zeros."""
        fresh: dict[str, Any] = {}
        with contextlib.suppress(NotImplementedError), np.errstate(all="ignore"):  # by one that has its own `step`
            self.update(np.zeros(param.shape, param.dtype), np.zeros(param.shape, param.dtype), fresh, group)
        for name in fresh.keys() - kept.keys():
            yield f"there is no {name!r}"
        for name, value in kept.items():
            known = isinstance(fresh.get(name), Tensor)
            wanted = fresh[name].shape if known else param.shape
            if known and not isinstance(value, Tensor):
                yield f"{name!r} is no tensor, but {value!r:.40}"
            elif isinstance(value, Tensor) and (value.ndim or known) and value.shape != wanted:
                yield f"{name!r} has shape {value.shape}, and should have {wanted}"

    def __repr__(self) -> str:
        groups = [
            "\n".join([f"Parameter Group {i}", *(f"    {name}: {value}" for name, value in sorted(_options(group).items()))])
            for i, group in enumerate(self.param_groups)
        ]
        return f"{type(self).__name__} (\n" + "\n\n".join(groups) + "\n)"


class FusedOptimizer(Optimizer):
    """An optimiser whose step is formulas of single elements: a GPU takes all parameters of a group in one launch, or a few.

    A subclass says in `prepare` what its step works on, and in `formulas` what happens. There, what is done may depend on the
    options of the group, but not on the number of the step.
    """

    formulas: Callable[..., None]

    @property
    def _can_be_captured(self) -> bool:  # type: ignore[override]
        return type(self).update is FusedOptimizer.update

    def prepare(self, param: Any, grad: Any, state: dict[str, Any], group: dict[str, Any]) -> tuple[Any, ...]:
        """What `formulas` take for one parameter: a number of the step or several, ``param``, ``grad``, and the arrays kept in
        ``state``.
        """
        raise NotImplementedError(f"{type(self).__name__} has no prepare")

    def update(self, param: Any, grad: Any, state: dict[str, Any], group: dict[str, Any]) -> None:
        """One step for one parameter, on arrays."""
        self._run([(param, grad, state)], group)

    def update_group(self, params: list[tuple[Any, Any, dict[str, Any]]], group: dict[str, Any]) -> None:
        """The same for all of a group at once, unless a subclass has an `update` of its own."""
        if type(self).update is not FusedOptimizer.update:
            super().update_group(params, group)
        elif params:
            self._run(params, group)

    def _run(self, params: list[tuple[Any, Any, dict[str, Any]]], group: dict[str, Any]) -> None:
        def prepared() -> list[tuple[Any, ...]]:
            return [self.prepare(*one, group) for one in params]

        loops = kernels(params[0][0])
        function = partial(self.formulas, group)
        for number, *arrays in loops.fused(function, prepared(), lambda: [step[0] for step in prepared()]):
            loops.blockwise(partial(function, number), *arrays)


def decayed(group: dict[str, Any], param: Any, grad: Any) -> Any:
    """What to go down along: ``grad``, or minus ``grad`` if it is to be climbed, and the pull of the weight decay.

    If that is decoupled, ``param`` itself is drawn towards 0 at once.
    """
    if group["maximize"]:
        grad = -grad
    decay = float(group["weight_decay"])
    if decay and group.get("decoupled_weight_decay"):
        param *= 1 - float(group["lr"]) * decay
    elif decay:
        grad = grad + decay * param
    return grad


def step_dtype() -> str:
    """The dtype of counts of steps, as in PyTorch: float64 if that is the default one, else float32."""
    return "float64" if get_default_dtype() is float64 else "float32"


def _options(group: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in group.items() if name != "params"}


def _copy(value: Any, param: Any, name: str) -> Any:
    """A copy of ``value``: a tensor, but for the count of steps, in the dtype of the parameter."""
    if not isinstance(value, Tensor):
        return copy.deepcopy(value)
    with no_grad():
        if name in ON_CPU:
            return value.to("cpu", copy=True)
        return value.to(param.device, param.dtype, copy=True)


def _bring_along(state: dict[str, Any], place: devices.device) -> None:
    """What is kept for a parameter follows it to another device."""
    for name, value in state.items():
        if name not in ON_CPU and isinstance(value, Tensor) and devices.device_of(value._array) is not place:
            state[name] = wrap(devices.moved(value._array, place))

"""`Module`: the base of all layers and networks. It keeps a register of which attributes are parameters, buffers and
submodules, and everything else here walks over them.
"""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

from .. import dtypes
from .._tensor import Tensor
from ..autograd import no_grad
from ..autograd.mode import effect, mode
from ..autograd.tape import Handle
from ..devices import check_device
from ..devices import device as Device
from .backward_hooks import watch
from .parameter import Parameter


class structure:
    """How often any module was changed: an attribute, a register or its hooks. `minidl.compile` looks at it."""

    edits = 0


class _Register(MutableMapping[str, Any]):
    """The attributes of ``module`` that are of one kind, by name: what is changed here is changed there."""

    def __init__(self, module: Module, kind: str) -> None:
        self.attributes, self.kinds, self.kind = module.__dict__, module._registered, kind

    def __getitem__(self, name: str) -> Any:
        if self.kinds.get(name) != self.kind:
            raise KeyError(name)
        return self.attributes[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self.attributes[name], self.kinds[name] = value, self.kind
        structure.edits += 1

    def __delitem__(self, name: str) -> None:
        if self.kinds.get(name) != self.kind:
            raise KeyError(name)
        del self.attributes[name], self.kinds[name]
        structure.edits += 1

    def __iter__(self) -> Iterator[str]:
        return iter([name for name, kind in self.kinds.items() if kind == self.kind])

    def __reversed__(self) -> Iterator[str]:
        return reversed(list(self))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def popitem(self) -> tuple[str, Any]:
        """Take the last one out, as a dict does; a `MutableMapping` by itself takes the first."""
        for name in reversed(self):
            return name, self.pop(name)
        raise KeyError("popitem: nothing is registered")

    def __repr__(self) -> str:
        return repr(dict(self))


class _HookHandle(Handle):
    """The handle of a module's hook: putting it in and taking it out changes the module."""

    def __init__(self, hooks: dict[int, Any], hook: Any) -> None:
        super().__init__(hooks, hook)
        structure.edits += 1

    def remove(self) -> None:
        """Take the hook out; a second time does nothing."""
        super().remove()
        structure.edits += 1


class Module:
    """A part of a network. Subclasses make their parts in ``__init__`` and compute in ``forward``.

    Assigning a `Parameter` or a `Module` to an attribute registers it: it is then found by `parameters`, moved by `to`, saved
    by `state_dict`.

    Examples
    --------
    >>> class Net(Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.weight = Parameter(Tensor([1.0, 2.0]))
    ...     def forward(self, x):
    ...         return (x * self.weight).sum()
    >>> Net()(Tensor([3.0, 4.0])).item()
    11.0
    """

    training: bool

    def __init__(self) -> None:
        self.training = True
        self._registered: dict[str, str] = {}  # names of attributes: each is a "parameter", a "buffer" or a "module"
        self._non_persistent_buffers_set: set[str] = set()
        self._forward_pre_hooks: dict[int, Callable[..., Any]] = {}
        self._forward_hooks: dict[int, Callable[..., Any]] = {}
        self._backward_hooks: dict[int, Callable[..., Any]] = {}

    def _no_forward(self, *input: Any) -> Any:
        """What the module computes; every subclass has its own."""
        raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')

    forward: Callable[..., Any] = _no_forward  # so that type checkers take any arguments in a subclass

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        call = self._hooked if self._forward_pre_hooks or self._forward_hooks or self._backward_hooks else self.forward
        return call(*args, **kwargs) if mode.watcher is None else mode.watcher.module(self, call, args, kwargs)

    def _hooked(self, *args: Any, **kwargs: Any) -> Any:
        """`forward` between the hooks."""
        for before in tuple(self._forward_pre_hooks.values()):
            changed = before(self, args)
            if changed is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
        if self._backward_hooks:
            args, leave = watch(self, tuple(self._backward_hooks.values()), args)
            out = leave(self.forward(*args, **kwargs))
        else:
            out = self.forward(*args, **kwargs)
        for after in tuple(self._forward_hooks.values()):
            changed = after(self, args, out)
            if changed is not None:
                out = changed
        return out

    def register_forward_pre_hook(self, hook: Callable[..., Any]) -> Handle:
        """Call ``hook(module, args)`` before each ``forward``; what it returns, if not None, replaces ``args``."""
        return _HookHandle(self._forward_pre_hooks, hook)

    def register_forward_hook(self, hook: Callable[..., Any]) -> Handle:
        """Call ``hook(module, args, output)`` after each ``forward``; what it returns, if not None, replaces ``output``."""
        return _HookHandle(self._forward_hooks, hook)

    def register_full_backward_hook(self, hook: Callable[..., Any]) -> Handle:
        """Call ``hook(module, grad_input, grad_output)`` when the gradients of the inputs are known.

        Both are tuples, with None for what has no gradient. What it returns, if not None, replaces ``grad_input``.
        """
        return _HookHandle(self._backward_hooks, hook)

    # -- what is registered: attributes as any other, so that to look one up takes no longer

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...  # a checker does not see what `register_parameter` adds

    @property
    def _parameters(self) -> _Register:
        return _Register(self, "parameter")

    @property
    def _buffers(self) -> _Register:
        return _Register(self, "buffer")

    @property
    def _modules(self) -> _Register:
        return _Register(self, "module")

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, (Parameter, Module)):
            kind = "parameter" if isinstance(value, Parameter) else "module"
            if "_registered" not in self.__dict__:
                raise AttributeError(
                    f"cannot assign {kind} {name!r} before {type(self).__name__} has called super().__init__()"
                )
            if self._registered.get(name) != kind:
                self._forget(name)
            if isinstance(value, Parameter):
                self.register_parameter(name, value)
            else:
                self.add_module(name, value)
            return
        wanted = _TYPES.get(self.__dict__.get("_registered", {}).get(name))
        if wanted is None:
            object.__setattr__(self, name, value)
        elif value is None or isinstance(value, wanted):
            self.__dict__[name] = value
        else:
            raise TypeError(
                f"cannot assign {type(value).__name__!r} to {name!r} of {type(self).__name__}: it is registered as a "
                f"{wanted.__name__}, and takes one or None"
            )
        if name != "training":
            structure.edits += 1

    def __delattr__(self, name: str) -> None:
        if not self._forget(name):
            object.__delattr__(self, name)

    def _forget(self, name: str) -> bool:
        """Take the attribute ``name`` out, registered or not; say whether there was one."""
        found = name in self.__dict__
        self.__dict__.pop(name, None)
        self._registered.pop(name, None)
        self._non_persistent_buffers_set.discard(name)
        structure.edits += 1
        return found

    def __copy__(self) -> Any:
        """The same attributes, with a register of its own: what is put into the copy is not looked for here."""
        made = object.__new__(type(self))
        own = {name: self.__dict__[name].copy() for name in ("_registered", "_non_persistent_buffers_set")}
        made.__dict__ |= self.__dict__ | own
        return made

    def __dir__(self) -> list[str]:
        return sorted(name for name in super().__dir__() if not name[0].isdigit())

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Register a parameter under ``name``; None reserves the name for one that is not there (a bias left out)."""
        self._check_name(name, "parameter")
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(f"register_parameter: {name!r} must be a Parameter or None, got {type(param).__name__}")
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Register a tensor that is not trained but belongs to the state, such as a running mean.

        A buffer that is not ``persistent`` is left out of `state_dict`.
        """
        self._check_name(name, "buffer")
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(f"register_buffer: {name!r} must be a Tensor or None, got {type(tensor).__name__}")
        self._buffers[name] = tensor
        (self._non_persistent_buffers_set.discard if persistent else self._non_persistent_buffers_set.add)(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Register a submodule under ``name``."""
        self._check_name(name, "module")
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"add_module: {name!r} must be a Module or None, got {type(module).__name__}")
        self._modules[name] = module

    register_module = add_module

    def _check_name(self, name: Any, kind: str) -> None:
        if "_registered" not in self.__dict__:
            raise AttributeError(f"cannot register a {kind} before {type(self).__name__} has called super().__init__()")
        if not isinstance(name, str):
            raise TypeError(f"the name of a {kind} must be a string, got {type(name).__name__}")
        if "." in name or not name:
            raise KeyError(f"the name of a {kind} must not be empty and must not contain a dot, got {name!r}")
        taken = name in self.__dict__ or any(name in vars(base) for base in type(self).__mro__)  # no `__getattr__` is asked
        if self._registered.get(name) != kind and taken:
            raise KeyError(f"{type(self).__name__} already has an attribute {name!r}")

    # -- walking over them

    def named_modules(
        self, memo: set[Any] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """This module (named ``prefix``) and all inside it with their names, such as ``"layer.0"``; a shared module once."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                yield from module.named_modules(memo, f"{prefix}.{name}" if prefix else name, remove_duplicate)

    def _named_members(self, register: str, prefix: str, recurse: bool, remove_duplicate: bool) -> Iterator[tuple[str, Any]]:
        seen = set()
        modules = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate) if recurse else [(prefix, self)]
        for path, module in modules:
            for name, member in getattr(module, register).items():
                if member is not None and not (remove_duplicate and member in seen):
                    seen.add(member)
                    yield f"{path}.{name}" if path else name, member

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """All parameters with their names; a shared parameter once, under its first name."""
        return self._named_members("_parameters", prefix, recurse, remove_duplicate)

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """All buffers with their names."""
        return self._named_members("_buffers", prefix, recurse, remove_duplicate)

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The direct submodules with their names; a shared module once."""
        seen = set()
        for name, module in self._modules.items():
            if module is not None and module not in seen:
                seen.add(module)
                yield name, module

    def modules(self, remove_duplicate: bool = True) -> Iterator[Module]:
        """This module and all inside it; a shared module once, or as often as it is there."""
        return (module for _, module in self.named_modules(remove_duplicate=remove_duplicate))

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """All parameters, each once."""
        return (param for _, param in self.named_parameters(recurse=recurse))

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """All buffers, each once."""
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def children(self) -> Iterator[Module]:
        """The direct submodules."""
        return (module for _, module in self.named_children())

    def get_submodule(self, target: str) -> Module:
        """The module named ``target``, such as ``"layer.0"``.

        Raises
        ------
        AttributeError
            If there is none of that name.
        """
        module: Any = self
        for name in target.split(".") if target else ():
            if not isinstance(module, Module) or name not in module._modules:
                raise AttributeError(f"{type(module).__name__} has no submodule {name!r} (looking for {target!r})")
            module = module._modules[name]
        return module

    def get_parameter(self, target: str) -> Parameter:
        """The parameter named ``target``, such as ``"layer.0.weight"``."""
        return self._member("_parameters", target, "parameter")

    def get_buffer(self, target: str) -> Tensor:
        """The buffer named ``target``."""
        return self._member("_buffers", target, "buffer")

    def _member(self, register: str, target: str, kind: str) -> Any:
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        if getattr(module, register).get(name) is None:
            raise AttributeError(f"{type(module).__name__} has no {kind} {name!r} (looking for {target!r})")
        return getattr(module, register)[name]

    # -- changing all of them

    def apply(self, fn: Callable[[Module], None]) -> Any:
        """Call ``fn`` on every module inside and then on this one (to initialise weights, say); returns itself."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def train(self, mode: bool = True) -> Any:
        """Training mode, which `Dropout` and `BatchNorm2d` heed, on (or off) here and in all submodules; returns itself."""
        if not isinstance(mode, bool):
            raise ValueError(f"train: mode must be a bool, got {mode!r}")
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self) -> Any:
        """``train(False)``."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        """Whether gradients are wanted for the parameters; returns itself."""
        for param in self.parameters():
            param.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of all parameters, or set them to 0."""
        clear_grads(self.parameters, set_to_none)

    def to(self, *args: Any, dtype: Any = None, device: Any = None, non_blocking: bool = False) -> Any:
        """Parameters and buffers on another device, the floating ones in another dtype; in place, returns itself.

        ``to("cuda")``, ``to(minidl.float64)``, ``to(device, dtype)``, ``to(tensor)``. The parameters remain the same objects,
        so that an optimiser that holds them goes on.
        """
        for arg in args:
            if isinstance(arg, Tensor):
                dtype, device = arg.dtype, arg.device
            elif isinstance(arg, bool):
                raise TypeError("to: give non_blocking by name")
            elif isinstance(arg, (str, int, Device)):
                device = arg
            elif arg is not None:
                dtype = arg
        if dtype is not None and not dtypes.as_dtype(dtype).is_floating_point:
            raise TypeError(f"to: a module can only be converted to a floating dtype, got {dtypes.as_dtype(dtype)}")
        if device is not None:
            check_device(device, "to")
        return self._convert(
            lambda t: t.to(device=device, dtype=dtype if t.is_floating_point() else None, non_blocking=non_blocking)
        )

    def _convert(self, fn: Callable[[Tensor], Tensor]) -> Any:
        with no_grad():
            for tensor in (*self.parameters(), *self.buffers()):
                grad, tensor.grad = tensor.grad, None
                tensor.data = fn(tensor)
                tensor.grad = None if grad is None else fn(grad.detach())
        return self

    def float(self) -> Any:
        """Floating parameters and buffers in float32."""
        return self.to(dtypes.float32)

    def double(self) -> Any:
        """Floating parameters and buffers in float64."""
        return self.to(dtypes.float64)

    def half(self) -> Any:
        """Floating parameters and buffers in float16."""
        return self.to(dtypes.float16)

    def cpu(self) -> Any:
        """Parameters and buffers in the CPU's memory."""
        return self.to("cpu")

    def cuda(self, device: Any = None) -> Any:
        """Parameters and buffers in a GPU's memory: the current one's, or that of the ``device`` given."""
        return self.to("cuda" if device is None else device)

    # -- saving and loading

    def state_dict(self, *, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> OrderedDict[str, Any]:
        """Parameters and persistent buffers by name: detached, sharing memory; or, if ``keep_vars``, the tensors themselves."""
        state: OrderedDict[str, Any] = OrderedDict() if destination is None else destination
        for name, tensor in self._state(prefix):
            state[name] = tensor if keep_vars else tensor.detach()
        return state

    def _state(self, prefix: str) -> Iterator[tuple[str, Tensor]]:
        """What belongs to the state, by name; a shared tensor under each of its names."""
        for name, tensor in (*self._parameters.items(), *self._buffers.items()):
            if tensor is not None and name not in self._non_persistent_buffers_set:
                yield prefix + name, tensor
        for name, module in self._modules.items():
            if module is not None:
                yield from module._state(f"{prefix}{name}.")

    def load_state_dict(self, state_dict: Any, strict: bool = True) -> IncompatibleKeys:
        """Copy the tensors of ``state_dict`` into the parameters and buffers of the same names.

        Parameters
        ----------
        state_dict : mapping
            From `state_dict`, of this module or one like it.
        strict : bool
            Whether the names must be the same on both sides.

        Returns
        -------
        IncompatibleKeys
            ``missing_keys`` and ``unexpected_keys``.

        Raises
        ------
        RuntimeError
            Naming every missing and unexpected key (if ``strict``) and every tensor of another shape. Nothing is changed then.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"load_state_dict: wants a mapping of names to tensors, got {type(state_dict).__name__}")
        own = dict(self._state(""))
        missing = [name for name in own if name not in state_dict]
        unexpected = [name for name in state_dict if name not in own]
        problems = []
        if strict and missing:
            problems.append("missing keys: " + ", ".join(map(repr, missing)))
        if strict and unexpected:
            problems.append("unexpected keys: " + ", ".join(map(repr, unexpected)))
        for name, tensor in own.items():
            given: Any = state_dict.get(name)
            if name in state_dict and not isinstance(given, Tensor):
                problems.append(f"{name!r} must be a minidl.Tensor, got {type(given).__module__}.{type(given).__name__}")
            elif name in state_dict and given.shape != tensor.shape:
                problems.append(f"{name!r} has shape {given.shape} in state_dict, {tensor.shape} in the module")
        if problems:
            raise RuntimeError("\n    ".join([f"load_state_dict: the state does not fit {type(self).__name__}:", *problems]))
        with no_grad():
            for name, tensor in own.items():
                if name in state_dict:
                    tensor.copy_(state_dict[name])
        return IncompatibleKeys(missing, unexpected)

    # -- as a person sees it

    def extra_repr(self) -> str:
        """What stands in the parentheses of ``repr``, before the submodules."""
        return ""

    def _get_name(self) -> str:
        return type(self).__name__

    def __repr__(self) -> str:
        extra = self.extra_repr()
        parts = [f"({name}): {module!r}" for name, module in self._modules.items()]
        return layout_repr(self._get_name(), extra.split("\n") if extra else [], parts)


_TYPES: dict[Any, Any] = {"parameter": Parameter, "buffer": Tensor, "module": Module}


def layout_repr(name: str, extra: list[str], parts: list[str]) -> str:
    """``name(...)`` with one part a line, lines within parts indented; one line of ``extra`` alone stays on the first line."""
    if not parts and len(extra) <= 1:
        return f"{name}({''.join(extra)})"
    lines = [*extra, *(part.replace("\n", "\n  ") for part in parts)]
    return f"{name}(\n  " + "\n  ".join(lines) + "\n)"


@effect
def clear_grads(tensors: Callable[[], Iterable[Any]], set_to_none: bool) -> None:
    """Drop the gradients of what ``tensors()`` gives, or set them to 0. A watcher gets the function: its result may change."""
    for t in tensors():
        if t._grad is None:
            continue
        if set_to_none:
            t._grad = None
            continue
        with no_grad():
            if t.grad.grad_fn is not None:  # it has a history of its own, from create_graph
                t.grad = t.grad.detach()
            t.grad.zero_()


class IncompatibleKeys(namedtuple("IncompatibleKeys", ["missing_keys", "unexpected_keys"])):
    """What `Module.load_state_dict` found on one side only."""

    __slots__ = ()

    def __repr__(self) -> str:
        return super().__repr__() if any(self) else "<All keys matched successfully>"

    __str__ = __repr__

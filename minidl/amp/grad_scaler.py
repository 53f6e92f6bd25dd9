"""`GradScaler`: losses made larger, so that gradients in 16 bits do not vanish."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import backend, cuda, devices
from .._tensor import Tensor
from ..autograd import no_grad
from ..autograd.tape import boxed, mark_changed, wrap

LARGEST = float(np.finfo(np.float32).max)


class GradScaler:
    """Makes a loss larger before ``backward()``, so that small gradients do not vanish in float16, whose smallest number is
    6e-8; and the gradients smaller again before an optimiser uses them::

        scaler = minidl.amp.GradScaler()
        for x, y in batches:
            optimizer.zero_grad()
            with minidl.autocast("cuda"):
                loss = F.cross_entropy(net(x), y)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()

    The factor finds itself: where a gradient becomes infinite or NaN, the step is left out and the factor falls; it grows
    where that has not happened for a while. bfloat16 and tf32 have the range of float32 and need none of it.

    Parameters
    ----------
    device : str
        Where the gradients are. For ``"cuda"`` where there is no GPU it is not enabled, and warns.
    init_scale : float
        The first factor.
    growth_factor, backoff_factor : float
        What it grows by (more than 1), and falls by (less than 1).
    growth_interval : int
        After how many steps without infinite gradients it grows.
    enabled : bool
        With False, `scale` returns its argument, `step` takes a step, and nothing else happens.

    Raises
    ------
    ValueError
        For factors on the wrong side of 1.

    Notes
    -----
    `step` waits for the GPU, once: whether a gradient is infinite decides what the host does next. So a step with it is not
    captured by `minidl.compile`; what comes before it, up to ``scale(loss).backward()``, can be. Source: Micikevicius et al.,
    Mixed precision training, ICLR 2018.
    """

    def __init__(
        self,
        device: str = "cuda",
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        if growth_factor <= 1 or backoff_factor >= 1:
            got = f"{growth_factor} and {backoff_factor}"
            raise ValueError(f"GradScaler: growth_factor must be above 1 and backoff_factor below it, got {got}")
        if enabled and devices.device(device).type == "cuda" and not cuda.is_available():
            warnings.warn("GradScaler: there is no GPU, so it is not enabled", stacklevel=2)
            enabled = False
        self._enabled, self._scale, self._tracker = enabled, float(init_scale), 0
        self._factors: dict[Any, Tensor] = {}  # the scale as a tensor, by device and dtype
        self._growth_factor, self._backoff_factor, self._growth_interval = growth_factor, backoff_factor, growth_interval
        self._checks: dict[int, list[Any]] = {}  # of an optimiser that is unscaled: what is true if a number is not finite
        self._stepped: set[int] = set()
        self._infinite = False  # whether a step was left out

    def scale(self, outputs: Any) -> Any:
        """A loss, or several in a list or tuple, times the factor."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):
            return outputs * self._factor(outputs._array)
        if not isinstance(outputs, (list, tuple)):
            raise TypeError(f"GradScaler.scale: wants a Tensor, or a list or tuple of them, got {type(outputs).__name__}")
        return type(outputs)(map(self.scale, outputs))

    def _factor(self, array: Any) -> Tensor:
        """The factor beside an array. It stays in its place when it changes, so that what is compiled reads it as it is."""
        where, dtype = key = devices.device_of(array), array.dtype if array.dtype.kind == "f" else np.dtype(np.float32)
        if key not in self._factors:
            self._factors[key] = wrap(devices.made(where, lambda xp: xp.full((), self._scale, dtype)))
        return self._factors[key]

    def _set_scale(self, scale: float) -> None:
        if scale == self._scale:
            return
        self._scale = scale
        for t in self._factors.values():
            with devices.current(devices.device_of(t._array)):
                t._array[...] = scale
            mark_changed(t, "GradScaler.update")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_factors": {}}

    @no_grad()
    def unscale_(self, optimizer: Any) -> None:
        """Divide the gradients of an optimiser's parameters by the factor, in place; for before they are clipped, say.

        Raises
        ------
        RuntimeError
            If that was done since the last `update`, or there are no gradients.
        ValueError
            For gradients in float16: parameters must be in float32.
        """
        if not self._enabled:
            return
        if id(optimizer) in self._checks:
            raise RuntimeError("GradScaler.unscale_: these gradients are unscaled already; call update() after each step")
        grads = [p._grad for group in optimizer.param_groups for p in group["params"] if p._grad is not None]
        if not grads:
            raise RuntimeError("GradScaler.unscale_: no parameter of the optimiser has a gradient; call backward() first")
        if any(g._array.dtype == np.float16 for g in grads):
            raise ValueError("GradScaler.unscale_: gradients in float16 cannot be unscaled; keep the parameters in float32")
        by_device: dict[Any, list[Any]] = {}
        for g in grads:
            by_device.setdefault(g.device, []).append(g._array)
            mark_changed(g, "GradScaler.unscale_")
        self._checks[id(optimizer)] = [*self._unscaled(by_device)]

    def _unscaled(self, by_device: dict[Any, list[Any]]) -> Iterator[Any]:
        """Divide arrays; gives tensors, of which one is true if a number was not finite."""
        for where, arrays in by_device.items():
            with devices.current(where):
                if where.type == "cuda":
                    flags, arrays = backend.gpu.kernels.unscale(arrays, self._scale)
                    yield from map(boxed, flags)
                for a in arrays:
                    yield boxed(~backend.xp(a).isfinite(a).all())
                    a /= self._scale

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """``optimizer.step(*args, **kwargs)``, with gradients that are unscaled first if they are not; unless one of them is
        infinite or NaN. Then nothing is done.

        Raises
        ------
        RuntimeError
            If it was called since the last `update`.
        NotImplementedError
            For a closure, which would compute gradients anew.
        """
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if args or kwargs:
            raise NotImplementedError("GradScaler.step: a closure is not supported; compute the gradients before the step")
        if id(optimizer) in self._stepped:
            raise RuntimeError("GradScaler.step: this optimiser's step was taken already; call update() after each step")
        if id(optimizer) not in self._checks:
            self.unscale_(optimizer)
        self._stepped.add(id(optimizer))
        return None if self._is_infinite(id(optimizer)) else optimizer.step()

    def _is_infinite(self, number: int) -> bool:
        found = any([bool(check) for check in self._checks[number]])
        self._checks[number], self._infinite = [], self._infinite or found
        return found

    def update(self, new_scale: Any = None) -> None:
        """Make the factor smaller if a step was left out, larger after many that were not; or take ``new_scale``, a number.

        Call it once after the steps of all optimisers.
        """
        if not self._enabled:
            return
        for number in self._checks:
            self._is_infinite(number)
        if new_scale is not None:
            self._set_scale(float(new_scale))
        elif not self._checks:
            raise RuntimeError("GradScaler.update: no step was taken since the last update")
        elif self._infinite:
            self._tracker = 0
            self._set_scale(self._scale * self._backoff_factor)
        else:
            self._tracker += 1
            if self._tracker == self._growth_interval:
                self._tracker, grown = 0, self._scale * self._growth_factor
                self._set_scale(grown if grown <= LARGEST else self._scale)
        self._checks, self._stepped, self._infinite = {}, set(), False

    def is_enabled(self) -> bool:
        """Whether it does anything."""
        return self._enabled

    def get_scale(self) -> float:
        """The factor now; 1 if not enabled."""
        return self._scale if self._enabled else 1.0

    def get_growth_factor(self) -> float:
        """What the factor grows by."""
        return self._growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        """Set what the factor grows by."""
        self._growth_factor = new_factor

    def get_backoff_factor(self) -> float:
        """What the factor falls by."""
        return self._backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        """Set what the factor falls by."""
        self._backoff_factor = new_factor

    def get_growth_interval(self) -> int:
        """After how many steps the factor grows."""
        return self._growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        """Set after how many steps the factor grows."""
        self._growth_interval = new_interval

    def state_dict(self) -> dict[str, Any]:
        """The factor and how it changes, as PyTorch's; empty if not enabled. For after `update`."""
        if not self._enabled:
            return {}
        return {
            "scale": self._scale, "growth_factor": self._growth_factor, "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval, "_growth_tracker": self._tracker,
        }  # fmt: skip

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state, minidl's or PyTorch's.

        Raises
        ------
        ValueError
            If something is lacking, as in that of a scaler which is not enabled.
        """
        if not self._enabled:
            return
        lacking = [name for name in self.state_dict() if name not in state_dict]
        if lacking:
            raise ValueError(f"GradScaler.load_state_dict: the state lacks {', '.join(lacking)}; was it of one not enabled?")
        self._set_scale(float(state_dict["scale"]))
        self._tracker = int(state_dict["_growth_tracker"])
        self._growth_factor, self._backoff_factor = state_dict["growth_factor"], state_dict["backoff_factor"]
        self._growth_interval = state_dict["growth_interval"]

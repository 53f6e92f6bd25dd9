"""The activations as modules; each is explained at the function of the same name in `nn.functional`."""

from __future__ import annotations

from typing import Any

from ..functions.creation import full
from ..shapes import ShapeError
from . import functional as F
from .module import Module
from .parameter import Parameter


class _InPlace(Module):
    """An activation whose only option is to work in place."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def extra_repr(self) -> str:
        """The option, if it is set."""
        return "inplace=True" if self.inplace else ""


class ReLU(_InPlace):
    """``max(input, 0)``."""

    def forward(self, input: Any) -> Any:
        """See `nn.functional.relu`."""
        return F.relu(input, self.inplace)


class SELU(_InPlace):
    """``scale * elu(input, alpha)``."""

    def forward(self, input: Any) -> Any:
        """See `nn.functional.selu`."""
        return F.selu(input, self.inplace)


class SiLU(_InPlace):
    """``input * sigmoid(input)``."""

    def forward(self, input: Any) -> Any:
        """See `nn.functional.silu`."""
        return F.silu(input, self.inplace)


class Mish(_InPlace):
    """``input * tanh(softplus(input))``."""

    def forward(self, input: Any) -> Any:
        """See `nn.functional.mish`."""
        return F.mish(input, self.inplace)


class Hardswish(Module):
    """``input * hardsigmoid(input)``."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, input: Any) -> Any:
        """See `nn.functional.hardswish`."""
        return F.hardswish(input, self.inplace)


class Hardsigmoid(Module):
    """``relu6(input + 3) / 6``."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, input: Any) -> Any:
        """See `nn.functional.hardsigmoid`."""
        return F.hardsigmoid(input, self.inplace)


class ReLU6(_InPlace):
    """``min(max(input, 0), 6)``."""

    def forward(self, input: Any) -> Any:
        """See `nn.functional.relu6`."""
        return F.relu6(input, self.inplace)


class LeakyReLU(Module):
    """``input`` where it is positive, ``negative_slope * input`` elsewhere."""

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__()
        self.negative_slope, self.inplace = negative_slope, inplace

    def forward(self, input: Any) -> Any:
        """See `nn.functional.leaky_relu`."""
        return F.leaky_relu(input, self.negative_slope, self.inplace)

    def extra_repr(self) -> str:
        """The slope."""
        return f"negative_slope={self.negative_slope}" + (", inplace=True" if self.inplace else "")


class PReLU(Module):
    """``input`` where it is positive, elsewhere times a slope that is learned: one for all, or one for each channel.

    Shapes: weight (num_parameters,), 1 or the size of dimension 1.
    """

    def __init__(self, num_parameters: int = 1, init: float = 0.25, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        self.num_parameters, self.init = num_parameters, init
        self.weight = Parameter(full((num_parameters,), float(init), device=device, dtype=dtype))

    def forward(self, input: Any) -> Any:
        """See `nn.functional.prelu`."""
        return F.prelu(input, self.weight)

    def extra_repr(self) -> str:
        """How many slopes."""
        return f"num_parameters={self.num_parameters}"


class RReLU(Module):
    """`LeakyReLU` with slopes drawn between ``lower`` and ``upper`` in training mode, and their mean otherwise."""

    def __init__(self, lower: float = 1.0 / 8, upper: float = 1.0 / 3, inplace: bool = False) -> None:
        super().__init__()
        self.lower, self.upper, self.inplace = lower, upper, inplace

    def forward(self, input: Any) -> Any:
        """See `nn.functional.rrelu`."""
        return F.rrelu(input, self.lower, self.upper, self.training, self.inplace)

    def extra_repr(self) -> str:
        """The bounds."""
        return f"lower={self.lower}, upper={self.upper}" + (", inplace=True" if self.inplace else "")


class Threshold(Module):
    """``input`` where it is above ``threshold``, ``value`` elsewhere."""

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        super().__init__()
        self.threshold, self.value, self.inplace = threshold, value, inplace

    def forward(self, input: Any) -> Any:
        """See `nn.functional.threshold`."""
        return F.threshold(input, self.threshold, self.value, self.inplace)

    def extra_repr(self) -> str:
        """The two numbers."""
        return f"threshold={self.threshold}, value={self.value}" + (", inplace=True" if self.inplace else "")


class ELU(Module):
    """``input`` where it is positive, ``alpha * (exp(input) - 1)`` elsewhere."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.alpha, self.inplace = alpha, inplace

    def forward(self, input: Any) -> Any:
        """See `nn.functional.elu`."""
        return F.elu(input, self.alpha, self.inplace)

    def extra_repr(self) -> str:
        """The factor."""
        return f"alpha={self.alpha}" + (", inplace=True" if self.inplace else "")


class CELU(Module):
    """``input`` where it is positive, ``alpha * (exp(input / alpha) - 1)`` elsewhere."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.alpha, self.inplace = alpha, inplace

    def forward(self, input: Any) -> Any:
        """See `nn.functional.celu`."""
        return F.celu(input, self.alpha, self.inplace)

    def extra_repr(self) -> str:
        """The factor."""
        return f"alpha={self.alpha}" + (", inplace=True" if self.inplace else "")


class Hardtanh(Module):
    """``input`` held between ``min_val`` and ``max_val``."""

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        if max_val <= min_val:
            raise ValueError(f"Hardtanh: max_val {max_val} must be above min_val {min_val}")
        self.min_val, self.max_val, self.inplace = min_val, max_val, inplace

    def forward(self, input: Any) -> Any:
        """See `nn.functional.hardtanh`."""
        return F.hardtanh(input, self.min_val, self.max_val, self.inplace)

    def extra_repr(self) -> str:
        """The bounds."""
        return f"min_val={self.min_val}, max_val={self.max_val}" + (", inplace=True" if self.inplace else "")


class GELU(Module):
    """``input * P(Z < input)`` for a normal ``Z``."""

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate

    def forward(self, input: Any) -> Any:
        """See `nn.functional.gelu`."""
        return F.gelu(input, self.approximate)

    def extra_repr(self) -> str:
        """Which of the two formulas."""
        return f"approximate={self.approximate!r}"


class Softplus(Module):
    """``log(1 + exp(beta * input)) / beta``."""

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta, self.threshold = beta, threshold

    def forward(self, input: Any) -> Any:
        """See `nn.functional.softplus`."""
        return F.softplus(input, self.beta, self.threshold)

    def extra_repr(self) -> str:
        """The two numbers."""
        return f"beta={self.beta}, threshold={self.threshold}"


class Hardshrink(Module):
    """0 between ``-lambd`` and ``lambd``, ``input`` elsewhere."""

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd

    def forward(self, input: Any) -> Any:
        """See `nn.functional.hardshrink`."""
        return F.hardshrink(input, self.lambd)

    def extra_repr(self) -> str:
        """The bound."""
        return str(self.lambd)


class Softshrink(Hardshrink):
    """``input`` moved towards 0 by ``lambd``, and 0 where that would cross it."""

    def forward(self, input: Any) -> Any:
        """See `nn.functional.softshrink`."""
        return F.softshrink(input, self.lambd)


class Softsign(Module):
    """``input / (1 + |input|)``."""

    def forward(self, input: Any) -> Any:
        """See `nn.functional.softsign`."""
        return F.softsign(input)


class Tanhshrink(Module):
    """``input - tanh(input)``."""

    def forward(self, input: Any) -> Any:
        """See `nn.functional.tanhshrink`."""
        return F.tanhshrink(input)


class GLU(Module):
    """``a * sigmoid(b)`` for the two halves ``a`` and ``b`` of the input along ``dim``."""

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Any) -> Any:
        """See `nn.functional.glu`."""
        return F.glu(input, self.dim)

    def extra_repr(self) -> str:
        """The dimension."""
        return f"dim={self.dim}"


class Sigmoid(Module):
    """``1 / (1 + exp(-input))``."""

    def forward(self, input: Any) -> Any:
        """See `nn.functional.sigmoid`."""
        return F.sigmoid(input)


class LogSigmoid(Module):
    """``log(sigmoid(input))``."""

    def forward(self, input: Any) -> Any:
        """See `nn.functional.logsigmoid`."""
        return F.logsigmoid(input)


class Tanh(Module):
    """The hyperbolic tangent."""

    def forward(self, input: Any) -> Any:
        """See `nn.functional.tanh`."""
        return F.tanh(input)


class Softmax(Module):
    """``exp(input) / sum(exp(input))`` along ``dim``."""

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Any) -> Any:
        """See `nn.functional.softmax`."""
        return F.softmax(input, self.dim)

    def extra_repr(self) -> str:
        """The dimension."""
        return f"dim={self.dim}"


class LogSoftmax(Softmax):
    """``log(softmax(input))`` along ``dim``."""

    def forward(self, input: Any) -> Any:
        """See `nn.functional.log_softmax`."""
        return F.log_softmax(input, self.dim)


class Softmin(Softmax):
    """``softmax(-input)`` along ``dim``."""

    def forward(self, input: Any) -> Any:
        """See `nn.functional.softmin`."""
        return F.softmin(input, self.dim)


class Softmax2d(Module):
    """Softmax over the channels at each pixel of (N, C, H, W) or (C, H, W)."""

    def forward(self, input: Any) -> Any:
        """See `nn.functional.softmax`."""
        if len(input.shape) not in (3, 4):
            raise ShapeError(f"Softmax2d: wants input (N, C, H, W) or (C, H, W), got shape {tuple(input.shape)}")
        return F.softmax(input, -3)

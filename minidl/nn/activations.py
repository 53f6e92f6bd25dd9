"""The activations as modules; each is explained at the function of the same name in `nn.functional`."""

from __future__ import annotations

from typing import Any

from . import functional as F
from .module import Module


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

"""Convolutions."""

from __future__ import annotations

from typing import Any

from ..functions.creation import empty
from ..shapes import pair
from . import functional as F
from .linear import reset
from .module import Module
from .parameter import Parameter


class Conv2d(Module):
    """A window of weights slides over the picture; see `nn.functional.conv2d`.

    Shapes: input (N, in_channels, H, W) or without N, weight (out_channels, in_channels / groups, K, L) ->
    (N, out_channels, H', W').

    Parameters
    ----------
    padding : int, pair, 'same' or 'valid'
        Zeros around the picture; ``'same'`` as many as keep its size (stride 1 only), ``'valid'`` none.
    padding_mode : {'zeros'}
        PyTorch's other modes are not supported.

    Raises
    ------
    ValueError
        If the channels do not divide into the groups, or ``padding`` is no known word.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(f"Conv2d: {in_channels=} and {out_channels=} must be multiples of {groups=}")
        if padding_mode != "zeros":
            raise NotImplementedError(f"Conv2d: padding_mode {padding_mode!r} is not supported, only 'zeros'")
        self.in_channels, self.out_channels, self.groups, self.padding_mode = in_channels, out_channels, groups, padding_mode
        self.kernel_size, self.stride = pair(kernel_size, "Conv2d: kernel_size"), pair(stride, "Conv2d: stride")
        self.dilation = pair(dilation, "Conv2d: dilation")
        self.padding = padding if isinstance(padding, str) else pair(padding, "Conv2d: padding")
        if isinstance(padding, str) and padding not in ("same", "valid"):
            raise ValueError(f"Conv2d: padding must be 'same', 'valid' or integers, got {padding!r}")
        if padding == "same" and self.stride != (1, 1):
            raise ValueError(f"Conv2d: padding='same' wants stride 1, got {self.stride}")
        self.weight = Parameter(empty(out_channels, in_channels // groups, *self.kernel_size, device=device, dtype=dtype))
        self.register_parameter("bias", Parameter(empty(out_channels, device=device, dtype=dtype)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new weights: evenly between ``±1 / sqrt(fan_in)``, the weights that one output sees."""
        reset(self)

    def forward(self, input: Any) -> Any:
        """See `nn.functional.conv2d`."""
        return F.conv2d(input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)

    def extra_repr(self) -> str:
        """The sizes, and whatever is not the default."""
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        if self.padding != (0, 0):
            text += f", padding={self.padding}"
        if self.dilation != (1, 1):
            text += f", dilation={self.dilation}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        return text if self.bias is not None else text + ", bias=False"

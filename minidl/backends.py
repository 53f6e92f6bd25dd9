"""Which products of float32 a GPU may make with operands of fewer bits, by PyTorch's names."""

from __future__ import annotations

from types import SimpleNamespace

from .autograd.mode import effect
from .kernels.precision import allowed

LEVELS = {"highest": "float32", "high": "tf32", "medium": "bfloat16"}


@effect
def _allow(of: str, operands: str) -> None:
    allowed[of] = operands


def set_float32_matmul_precision(precision: str) -> None:
    """Say how precisely a GPU multiplies matrices of float32, in all threads: with their numbers as they are ("highest"),
    rounded to tf32 ("high": as large, with 11 bits of precision) or to bfloat16 ("medium": 8 bits). Sums are in float32.

    GPUs before Ampere (compute capability 8.0) take them as they are, and so does the CPU. Convolutions: `backends.cudnn`.

    Raises
    ------
    ValueError
        For another word.
    """
    if precision not in LEVELS:
        raise ValueError(f"set_float32_matmul_precision: wants 'highest', 'high' or 'medium', got {precision!r}")
    _allow("matmul", LEVELS[precision])


def get_float32_matmul_precision() -> str:
    """What `set_float32_matmul_precision` was told last; at first "highest"."""
    return next(level for level, operands in LEVELS.items() if operands == allowed["matmul"])


class _Switch:
    """Whether operands of one kind of products may be rounded to tf32."""

    __slots__ = ("_of",)

    def __init__(self, of: str) -> None:
        self._of = of

    @property
    def allow_tf32(self) -> bool:
        """False unless it is set."""
        return allowed[self._of] != "float32"

    @allow_tf32.setter
    def allow_tf32(self, value: bool) -> None:
        _allow(self._of, "tf32" if value else "float32")


cuda = SimpleNamespace(matmul=_Switch("matmul"))  # the same switch as `set_float32_matmul_precision`
cudnn = _Switch("conv")  # convolutions, which are minidl's own; True in PyTorch unless it is set

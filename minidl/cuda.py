"""GPUs: in this version there is none to be had, and scripts that ask are told so."""

from __future__ import annotations


def is_available() -> bool:
    """Whether tensors can live on a GPU: not yet."""
    return False


def device_count() -> int:
    """How many GPUs can be used."""
    return 0

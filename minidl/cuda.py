"""GPUs: in this version there is none to be had, and scripts that ask are told so."""

from __future__ import annotations


def is_available() -> bool:
    """Whether tensors can live on a GPU: not yet."""
    return False


def device_count() -> int:
    """How many GPUs can be used."""
    return 0


def manual_seed(seed: int) -> None:
    """Seed the generator of the current GPU: there is none, and so nothing to do, as in PyTorch."""


def manual_seed_all(seed: int) -> None:
    """Seed the generators of all GPUs: there are none, and so nothing to do, as in PyTorch."""


def empty_cache() -> None:
    """Give a GPU's unused memory back: there is none, and so nothing to do, as in PyTorch."""

"""Keeping freed memory for the next step.

A training step frees arrays of megabytes and asks for the same again. glibc gives such blocks back to the system at once, and
the system hands them out anew one zeroed page at a time, which can cost more than what is computed in them. Told to, glibc
keeps them.
"""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # the names of these two options in malloc.h
_MOST = 2**31 - 1


def keep_freed() -> bool:
    """Have the C library keep blocks below 2 GiB that are freed, for the whole process; False where it is not glibc."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # another C library, or none to look into
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _MOST) and mallopt(_TRIM_THRESHOLD, _MOST))


def give_back() -> bool:
    """Have the C library return what is free to the system, once; False where it is not glibc."""
    try:
        return bool(ctypes.CDLL(None).malloc_trim(0))
    except (OSError, AttributeError, TypeError):
        return False

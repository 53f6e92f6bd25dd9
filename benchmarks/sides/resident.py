"""How much memory this process holds, and held at most, as Linux tells."""

import ctypes
import gc
import threading
from contextlib import contextmanager
from pathlib import Path

SELF = Path("/proc/self")


def _status(field):
    """A line of /proc/self/status, in bytes."""
    for line in (SELF / "status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise NotImplementedError(f"this system does not tell {field}")


def now():
    """The resident size, in bytes."""
    return _status("VmRSS")


def give_back():
    """Free what is garbage, and have the C library give freed memory back to the system."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
    if trim:
        trim(0)


@contextmanager
def peak():
    """A list, which when the block ends holds the largest resident size within it: exact where the mark can be reset, else the
    largest of samples a millisecond apart.
    """
    found = []
    try:
        (SELF / "clear_refs").write_text("5")
    except OSError:
        over = threading.Event()
        found.append(now())

        def sample():
            while not over.wait(0.001):
                found[0] = max(found[0], now())

        sampler = threading.Thread(target=sample)
        sampler.start()
        try:
            yield found
        finally:
            over.set()
            sampler.join()
    else:
        yield found
        found.append(_status("VmHWM"))

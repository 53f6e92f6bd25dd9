"""What surrounds training: `minidl.utils.data`, and `minidl.utils.checkpoint`, which trades time for memory."""

from . import checkpoint, data

__all__ = ["checkpoint", "data"]

"""What surrounds training: at present, `minidl.utils.data`."""

from . import data

__all__ = ["data"]

"""What surrounds training: at present, `minidl.utils.data`."""

from . import data

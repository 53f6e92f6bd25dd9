"""`export`: a network as an ONNX file, which onnxruntime and others run without minidl.

How a call becomes a program is in `trace`, and how numbers in it follow from the sizes of the inputs in `sizes`. What each op
is in ONNX is said in a table, a function for each op, in `elementwise`, `shapes`, `layers` and `sequences`; `writer` goes
through the program and calls them.
"""

from .writer import export

__all__ = ["export"]

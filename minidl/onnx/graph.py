"""The graph of an ONNX file while it is made: nodes, constants, and the sizes of inputs as numbers that are computed."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any, NamedTuple

import numpy as np

from .sizes import Grown, Size


class Tensor(NamedTuple):
    """A value of the graph: its name there, and what is known of it."""

    name: str
    shape: tuple[Any, ...]
    dtype: Any

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self.shape)


class Graph:
    """Nodes in order, and the arrays that they read.

    Parameters
    ----------
    axes
        For each size its name, the input that has it, and along which axis.
    """

    def __init__(self, axes: dict[str, tuple[str, int]]) -> None:
        self.axes = axes
        self.nodes: list[Any] = []
        self.arrays: dict[str, Any] = {}
        self.names: set[str] = set()
        self.counts: Counter[str] = Counter()
        self.sizes_made: dict[Any, str] = {}
        self.out: Any = None  # what the op at hand gives: its `Value` in the program
        self.label, self.site = "value", ""

    def name(self, wanted: str) -> str:
        """A name that is not taken."""
        found = wanted
        while found in self.names:
            self.counts[wanted] += 1
            found = f"{wanted}_{self.counts[wanted]}"
        self.names.add(found)
        return found

    def constant(self, array: Any, name: str | None = None) -> str:
        """An array of the file."""
        array = np.ascontiguousarray(array).reshape(np.shape(array))
        if name is None:
            key = (array.dtype.str, array.shape, array.tobytes()) if array.size < 64 else None
            if key is not None and key in self.sizes_made:
                return self.sizes_made[key]
            name = self.name("constant")
            if key is not None:
                self.sizes_made[key] = name
        self.arrays[name] = array
        return name

    def add(self, kind: str, *inputs: Any, outputs: int = 1, **attributes: Any) -> Any:
        """The result of a node; several names if it has several ``outputs``. Inputs are names, tensors, arrays or None."""
        from onnx import helper

        names = [self._name_of(x) for x in inputs]
        made = [self.name(self.label) for _ in range(outputs)]
        while names and not names[-1]:
            names.pop()
        self.nodes.append(helper.make_node(kind, names, made, name=made[0], doc_string=self.site, **attributes))
        return made[0] if outputs == 1 else made

    def _name_of(self, x: Any) -> str:
        if x is None:
            return ""
        if isinstance(x, str):
            return x
        return x.name if isinstance(x, Tensor) else self.constant(x)

    def proto(self, array: Any) -> Any:
        """An array as an attribute of a node."""
        from onnx import numpy_helper

        return numpy_helper.from_array(array)

    # -- sizes

    def size(self, value: Any) -> str:
        """A size as a vector of one number."""
        if not isinstance(value, Size):
            return self.constant(np.array([value], np.int64))
        if value not in self.sizes_made:
            total = None
            for names, factor in value.terms:
                term = self.constant(np.array([factor], np.int64)) if factor != 1 or not names else None
                for name in names:
                    term = self.axis(name) if term is None else self.add("Mul", term, self.axis(name))
                total = term if total is None else self.add("Add", total, term)
            self.sizes_made[value] = total or self.constant(np.array([0], np.int64))
        return self.sizes_made[value]

    def axis(self, name: str) -> str:
        """The size of an input, by its name."""
        if name not in self.sizes_made:
            source, axis = self.axes[name]
            self.sizes_made[name] = self.add("Shape", source, start=axis, end=axis + 1)
        return self.sizes_made[name]

    def sizes(self, values: Any) -> str:
        """A vector of sizes."""
        if None in values:
            raise NotImplementedError("a size that it needs follows from the inputs' sizes in no simple way")
        if any(isinstance(n, Size) for n in values):
            return str(self.add("Concat", *map(self.size, values), axis=0))
        return self.constant(np.array(values, np.int64))

    def scalar(self, value: Any, dtype: Any) -> str:
        """A number, or a size, without dimensions."""
        if isinstance(value, Size):
            found = self.add("Squeeze", self.size(value), np.array([0]))
            return found if np.dtype(dtype) == np.int64 else self.cast(found, dtype)
        return self.constant(np.asarray(value, dtype))

    def grown(self, made: Grown) -> str:
        """An array whose shape follows from sizes."""
        if made.step is None:
            return str(self.add("Expand", self.scalar(made.value, made.dtype), self.sizes(made.shape)))
        counted = self.add("Range", np.int64(0), self.scalar(made.shape[0], np.int64), np.int64(1))
        if (made.value, made.step) == (0, 1) and made.dtype == np.int64:
            return str(counted)
        steps = self.add("Mul", self.cast(counted, made.dtype), self.scalar(made.step, made.dtype))
        return str(self.add("Add", steps, self.scalar(made.value, made.dtype)))

    # -- what many ops need

    def cast(self, x: Any, dtype: Any) -> str:
        """``x`` in another dtype."""
        from onnx import helper

        return str(self.add("Cast", x, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype))))

    def as_dtype(self, x: Any, dtype: Any) -> Any:
        """A tensor ``x`` itself if it is of that dtype, else cast."""
        return x if x.dtype == dtype else self.cast(x, dtype)

    def like(self, number: Any, x: Any) -> Any:
        """A Python number as a constant of the dtype of ``x``; a tensor as it is."""
        return number if isinstance(number, Tensor) else np.asarray(number, x.dtype)

    def reshape(self, x: Any, shape: Any) -> str:
        """``x`` in another shape; a single size that is not known becomes what is left over."""
        unknown = [i for i, n in enumerate(shape) if not isinstance(n, (int, np.integer))]
        if len(unknown) == 1 and -1 not in shape and 0 not in shape:
            shape = [-1 if i in unknown else n for i, n in enumerate(shape)]
        return str(self.add("Reshape", x, self.sizes(shape), allowzero=int(-1 not in shape)))

    def slice(self, x: Any, axis: int, start: Any, stop: Any) -> str:
        """``x`` from ``start`` to ``stop`` along an axis."""
        ends = self.size(np.iinfo(np.int64).max if stop is None else stop)
        return str(self.add("Slice", x, self.size(start), ends, np.array([axis])))

    def ones(self, shape: Any, dtype: Any) -> Any:
        """As many ones as that; an array of the file, so the shape must be known."""
        if not all(isinstance(n, (int, np.integer)) for n in shape) or math.prod(shape) > 1 << 24:
            raise NotImplementedError(f"it needs ones of shape {shape}")
        return np.ones(shape, dtype)

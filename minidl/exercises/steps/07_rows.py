"""Rows: who was read twice gets both gradients.

out = table[index] reads rows of a table; an embedding is nothing else. On the way back each row of
g goes to the row that was read. A row that was read twice must get both gradients. NumPy has a trap
here: out[index] += g adds only once if an index repeats.
"""

import numpy as np


def rows_pullback(g, table, index):
    """The gradient of the table, where out = table[index] and index is an array of whole numbers."""
    out = np.zeros_like(table)
    # [solution]
    np.add.at(out, index, g)
    # [start] Fill out: to the row index[i] belongs g[i]. Rows may repeat; np.add.at(array, index, values) is
    # | made for that.
    # ...
    # [mistake] Of a row that was read twice only one gradient is left. `=` overwrites, and `+=` reads, adds
    # | and writes once for all: take np.add.at.
    # out[index] = g
    # [mistake] Of a row that was read twice only one gradient is left. `=` overwrites, and `+=` reads, adds
    # | and writes once for all: take np.add.at.
    # out[index] += g
    # [end]
    return out


# [hint] A loop will do: for i, row in enumerate(index): out[row] += g[i]. np.add.at(out, index, g) is the
# | same without the loop.
# [solved] Reading and adding at places are each other's transposes: minidl/ops/index.py and
# | minidl/ops/embedding.py.

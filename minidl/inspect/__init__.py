"""Seeing a network at work: a player of every step, pictures of the graph, and what a tensor or a module is, in words."""

from .drawing import Graph, graph, print_tree
from .recorder import record
from .rungs import Comparison, rung
from .strict import StrictError, StrictShapeError, strict
from .summaries import Summary, summary
from .words import explain

__all__ = [
    "Comparison",
    "Graph",
    "StrictError",
    "StrictShapeError",
    "Summary",
    "explain",
    "graph",
    "print_tree",
    "record",
    "rung",
    "strict",
    "summary",
]

"""Where the time goes: calls, time, bytes and arithmetic of every op, gradient, module and optimiser step."""

from .memory import MemoryReport, memory_report
from .recorder import Record, profile

__all__ = ["MemoryReport", "Record", "memory_report", "profile"]

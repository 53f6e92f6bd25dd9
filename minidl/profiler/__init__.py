"""Where the time goes: calls, time, bytes and arithmetic of every op, gradient, module and optimiser step."""

from .recorder import Record, profile

__all__ = ["Record", "profile"]

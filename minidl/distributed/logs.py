"""Logging by many ranks: each message once, and warnings from whoever has them."""

from __future__ import annotations

import logging
import sys
from typing import Any

from .group import get_rank, get_world_size, is_initialized


class _ToOutput(logging.StreamHandler):
    """To standard output as it is when something is said, which may be another one than now."""

    @property
    def stream(self) -> Any:
        return sys.stdout

    @stream.setter
    def stream(self, _: Any) -> None:
        pass


class _OfRank(logging.Filter):
    """Notes who speaks; lets pass what rank 0 says, warnings, and what is marked by ``extra={"all_ranks": True}``."""

    def filter(self, record: logging.LogRecord) -> bool:
        rank, size = (get_rank(), get_world_size()) if is_initialized() else (0, 1)
        of_all = record.levelno >= logging.WARNING or getattr(record, "all_ranks", False)
        record.who = f"[rank {rank}] " if size > 1 and of_all else ""
        return rank == 0 or of_all


def get_logger(name: str = "minidl.distributed", level: int = logging.INFO) -> logging.Logger:
    """A logger of Python's for a program of many ranks.

    Messages below a warning are written by rank 0 only. Warnings and errors are written by every rank that has them, and so
    are messages with ``extra={"all_ranks": True}``; of several ranks they begin with ``[rank 3]``. All go to standard output,
    at once.

    Examples
    --------
    >>> get_logger().info("%d pictures", 50000)
    50000 pictures
    """
    logger = logging.getLogger(name)
    logger.setLevel(level)
    if not any(isinstance(f, _OfRank) for handler in logger.handlers for f in handler.filters):
        handler = _ToOutput()
        handler.addFilter(_OfRank())
        handler.setFormatter(logging.Formatter("%(who)s%(message)s"))
        logger.addHandler(handler)
        logger.propagate = False
    return logger

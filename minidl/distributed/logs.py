"""Logging by many ranks: each message once, and warnings from whoever has them."""

from __future__ import annotations

import logging
import sys

from .group import get_rank, get_world_size, is_initialized


class _OfRank(logging.Filter):
    """Notes who speaks; lets pass what rank 0 says, warnings, and what is marked by ``extra={"all_ranks": True}``."""

    def filter(self, record: logging.LogRecord) -> bool:
        rank, size = (get_rank(), get_world_size()) if is_initialized() else (0, 1)
        record.who = f"[rank {rank}] " if size > 1 else ""
        return rank == 0 or record.levelno >= logging.WARNING or getattr(record, "all_ranks", False)


def get_logger(name: str = "minidl.distributed", level: int = logging.INFO) -> logging.Logger:
    """A logger of Python's for a program of many ranks.

    Messages below a warning are written by rank 0 only, warnings and errors by every rank that has them, and so are messages
    with ``extra={"all_ranks": True}``; with more than one rank each line begins with ``[rank 3]``. They go to standard output,
    at once.

    Examples
    --------
    >>> get_logger().info("%d pictures", 50000)  # doctest: +SKIP
    [rank 0] 50000 pictures
    """
    logger = logging.getLogger(name)
    logger.setLevel(level)
    if not any(isinstance(f, _OfRank) for handler in logger.handlers for f in handler.filters):
        handler = logging.StreamHandler(sys.stdout)
        handler.addFilter(_OfRank())
        handler.setFormatter(logging.Formatter("%(who)s%(message)s"))
        logger.addHandler(handler)
        logger.propagate = False
    return logger

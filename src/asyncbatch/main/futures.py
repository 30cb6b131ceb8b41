"""Futures of tiles, whose locks survive Ctrl-C, and how to wait for them.

Python raises `KeyboardInterrupt` between any two calls of the main thread. `threading.Condition` has its ``__enter__``
and ``__exit__`` written in Python, so one that comes in the middle of either leaves the lock held for ever, and the
thread that wants to settle the future waits for it for ever. A second Ctrl-C, which interrupts what the first one has
set going, hits that moment often.
"""

import threading
from concurrent.futures import Future
from operator import attrgetter
from typing import Any, TypeVar

from asyncbatch.errors import TileError, TileLost

T = TypeVar("T")


class InterruptibleCondition(threading.Condition):
    """A condition that an exception raised by a signal handler leaves unlocked.

    A ``with`` statement finds the methods of the lock itself, which are written in C: Python runs no signal handler
    between their work and the statement's taking charge of it.
    """

    __enter__ = property(attrgetter("_lock.__enter__"))
    __exit__ = property(attrgetter("_lock.__exit__"))


class TileFuture(Future[T]):
    """The future of a tile, which the main thread may stop waiting for at any moment."""

    peak_memory: int = 0
    """Most bytes of memory that its slot's process had while it computed; 0: not known, or not done."""

    def __init__(self) -> None:
        super().__init__()
        self._condition = InterruptibleCondition()


def take(future: Future[Any], timeout: float | None = None, *, collect: bool) -> Any:  # noqa: ANN401 - whatever the user's function returns
    """Return a tile's result; where errors are collected, the tile's own error in its place.

    Raises
    ------
    Exception
        The tile's error, unless it is collected. What ends the whole run always is raised.
    """
    try:
        return future.result(timeout)
    except (TileError, TileLost) as error:
        if not collect:
            raise
        return error

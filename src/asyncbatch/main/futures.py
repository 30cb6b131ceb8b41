"""Futures of tiles, whose locks survive Ctrl-C, and functions to wait for them.

Python may raise `KeyboardInterrupt` between any two calls in the main thread. ``__enter__`` and ``__exit__`` of
`threading.Condition` are written in Python, so an interrupt within them leaves the lock held forever, and the thread
that settles the future waits forever. A second Ctrl-C, which interrupts the handling of the first, often has this
effect.
"""

import threading
from concurrent.futures import Future
from operator import attrgetter
from typing import Any, TypeVar

from asyncbatch.errors import TileError, TileLost

T = TypeVar("T")


class InterruptibleCondition(threading.Condition):
    """A condition that an exception raised by a signal handler leaves unlocked.

    A ``with`` statement uses the methods of the lock itself, which are written in C: Python runs no signal handler
    between acquiring the lock and entering the block.
    """

    __enter__ = property(attrgetter("_lock.__enter__"))
    __exit__ = property(attrgetter("_lock.__exit__"))


class TileFuture(Future[T]):
    """The future of a tile; waiting for it may be interrupted at any time."""

    peak_memory: int = 0
    """Peak memory of its slot's process in bytes; 0 if it is not known, or the tile is not done."""

    def __init__(self) -> None:
        super().__init__()
        self._condition = InterruptibleCondition()


def take(future: Future[Any], timeout: float | None = None, *, collect: bool) -> Any:  # noqa: ANN401 - the result of the user's function
    """Return a tile's result; if errors are collected, the tile's own error instead.

    Raises
    ------
    Exception
        The tile's error, unless it is collected. Errors of the whole run are always raised.
    """
    try:
        return future.result(timeout)
    except (TileError, TileLost) as error:
        if not collect:
            raise
        return error

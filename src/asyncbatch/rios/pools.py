"""Pools that the `apply` calls of a script share, so that workers start only once."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from asyncbatch.main.executor import BatchExecutor
from asyncbatch.rios.options import Choice
from asyncbatch.signals import leave_by_exception

log: Final = logging.getLogger(__name__)

_KEPT: Final = 30.0
"""Seconds that an idle pool is kept for the next `apply`, since starting workers on AWS takes longer."""


@dataclass(slots=True, kw_only=True)
class _Shared:
    """A pool and its borrower."""

    pool: BatchExecutor
    borrowers: int = 0
    failed: bool = False
    closing: threading.Timer | None = None


class Pools:
    """Lends pools, and closes pools that have been idle for a while.

    Parameters
    ----------
    opened : callable
        Opens a pool.
    kept : float
        Seconds that an idle pool is kept.
    """

    def __init__(self, opened: Callable[[Choice], BatchExecutor], *, kept: float = _KEPT) -> None:
        self._opened = opened
        self._kept = kept
        self._lock = threading.Lock()
        self._shared: dict[Choice, _Shared] = {}

    def borrow(self, choice: Choice) -> BatchExecutor:
        """Return a pool for a choice: an idle one if it matches, otherwise a new one.

        Raises
        ------
        AsyncBatchError
            If no pool can be opened.
        """
        with self._lock:
            shared = self._shared.get(choice)
            if shared is None:
                self._close_idle()  # keep at most one idle pool
                shared = self._shared[choice] = _Shared(pool=self._opened(choice))
            elif shared.closing is not None:
                shared.closing.cancel()
                shared.closing = None
            shared.borrowers += 1
            return shared.pool

    def return_pool(self, choice: Choice, *, failed: bool) -> None:
        """Return a borrowed pool.

        Parameters
        ----------
        choice : Choice
            The choice by which it was borrowed.
        failed : bool
            Whether an error ended the work: then the pool is closed at once, since there may be no other `apply`.
        """
        with self._lock:
            shared = self._shared[choice]
            shared.borrowers -= 1
            shared.failed |= failed
            if shared.borrowers:
                return
            if shared.failed:
                self._close(choice)
                return
            shared.closing = threading.Timer(self._kept, self._expire, [choice, shared])
            shared.closing.daemon = True  # at the end of the script the pool closes itself
            shared.closing.start()

    def close(self) -> None:
        """Close all idle pools at once."""
        with self._lock:
            self._close_idle()

    def abandon(self, choice: Choice) -> None:
        """Return a pool without blocking, when Python deletes its borrower."""
        threading.Thread(target=self.return_pool, args=[choice], kwargs={"failed": True}, name="asyncbatch-end").start()

    def _expire(self, choice: Choice, shared: _Shared) -> None:
        with self._lock:
            if self._shared.get(choice) is shared and not shared.borrowers:
                self._close(choice)

    def _close_idle(self) -> None:
        for choice in [choice for choice, shared in self._shared.items() if not shared.borrowers]:
            self._close(choice)

    def _close(self, choice: Choice) -> None:
        shared = self._shared.pop(choice)
        if shared.closing is not None:
            shared.closing.cancel()
        shared.pool.shutdown(wait=True, cancel_futures=shared.failed)


def open_pool(choice: Choice) -> BatchExecutor:
    """Open a pool for a choice.

    Raises
    ------
    AsyncBatchError
        If the stack can't be used.
    """
    leave_by_exception()  # otherwise SIGTERM would leave queues and jobs behind
    pool = BatchExecutor(choice.workers, launcher=choice.launcher, settings=choice.settings, embedded=choice.local)
    log.info("pool opened", extra={"action": "pool_opened", "workers": choice.workers, "launcher": choice.launcher})
    return pool


POOLS: Final = Pools(open_pool)
"""The pools of this process, since RIOS creates new managers for each `apply`."""

"""The pools that the `apply` calls of a script share, so that a script with many of them starts workers once."""

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
"""Seconds that a pool without work is kept for the next `apply`: starting workers on AWS takes longer."""


@dataclass(slots=True, kw_only=True)
class _Shared:
    """A pool, and who has it."""

    pool: BatchExecutor
    borrowers: int = 0
    failed: bool = False
    closing: threading.Timer | None = None


class Pools:
    """Lends pools, and closes those that nobody has borrowed for a while.

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
        """Return a pool as chosen: the one at hand if it will do, else a new one.

        Raises
        ------
        AsyncBatchError
            If none can be opened.
        """
        with self._lock:
            shared = self._shared.get(choice)
            if shared is None:
                self._close_idle()  # two idle sets of workers are one too many
                shared = self._shared[choice] = _Shared(pool=self._opened(choice))
            elif shared.closing is not None:
                shared.closing.cancel()
                shared.closing = None
            shared.borrowers += 1
            return shared.pool

    def give_back(self, choice: Choice, *, failed: bool) -> None:
        """Say that a borrowed pool is no longer needed.

        Parameters
        ----------
        choice : Choice
            What it was borrowed by.
        failed : bool
            Whether an error ended the work: then nothing is left for a next `apply`, which may never come.
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
            shared.closing.daemon = True  # at the script's end the pool closes itself
            shared.closing.start()

    def close(self) -> None:
        """End all pools that nobody has borrowed, and do not wait for another `apply`."""
        with self._lock:
            self._close_idle()

    def abandon(self, choice: Choice) -> None:
        """Give a pool back from wherever Python collects its borrower, and so without waiting."""
        threading.Thread(target=self.give_back, args=[choice], kwargs={"failed": True}, name="asyncbatch-end").start()

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


def opened(choice: Choice) -> BatchExecutor:
    """Open a pool as chosen.

    Raises
    ------
    AsyncBatchError
        If the stack can't be used.
    """
    leave_by_exception()  # SIGTERM would otherwise leave queues and jobs behind
    pool = BatchExecutor(choice.workers, launcher=choice.launcher, settings=choice.settings, embedded=choice.local)
    log.info("pool opened", extra={"action": "pool_opened", "workers": choice.workers, "launcher": choice.launcher})
    return pool


POOLS: Final = Pools(opened)
"""Those of this process: RIOS makes its managers anew for each `apply`, with no place for what outlives one."""

"""Pools that the `apply` calls of a script share, so that workers start only once."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from asyncbatch.main.executor import BatchExecutor
from asyncbatch.main.signals import leave_by_exception
from asyncbatch.rios.options import PoolOptions

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

    def __init__(self, opened: Callable[[PoolOptions], BatchExecutor], *, kept: float = _KEPT) -> None:
        self._opened = opened
        self._kept = kept
        self._lock = threading.Lock()
        self._shared: dict[PoolOptions, _Shared] = {}

    def borrow(self, pool_options: PoolOptions) -> BatchExecutor:
        """Return a pool with the given options: an idle one if one matches, otherwise a new one.

        Raises
        ------
        AsyncBatchError
            If no pool can be opened.
        """
        with self._lock:
            shared = self._shared.get(pool_options)
            if shared is None:
                self._close_idle()  # keep at most one idle pool
                shared = self._shared[pool_options] = _Shared(pool=self._opened(pool_options))
            elif shared.closing is not None:
                shared.closing.cancel()
                shared.closing = None
            shared.borrowers += 1
            return shared.pool

    def return_pool(self, pool_options: PoolOptions, *, failed: bool) -> None:
        """Return a borrowed pool.

        Parameters
        ----------
        pool_options : PoolOptions
            The options with which it was borrowed.
        failed : bool
            Whether an error ended the work: then the pool is closed immediately, since there may be no other `apply`.
        """
        with self._lock:
            shared = self._shared[pool_options]
            shared.borrowers -= 1
            shared.failed |= failed
            if shared.borrowers:
                return
            if shared.failed:
                self._close(pool_options)
                return
            shared.closing = threading.Timer(self._kept, self._expire, [pool_options, shared])
            shared.closing.daemon = True  # at the end of the script the pool closes itself
            shared.closing.start()

    def close(self) -> None:
        """Close all idle pools."""
        with self._lock:
            self._close_idle()

    def abandon(self, pool_options: PoolOptions) -> None:
        """Return a pool without blocking, when Python deletes its borrower."""
        threading.Thread(
            target=self.return_pool, args=[pool_options], kwargs={"failed": True}, name="asyncbatch-end"
        ).start()

    def _expire(self, pool_options: PoolOptions, shared: _Shared) -> None:
        with self._lock:
            if self._shared.get(pool_options) is shared and not shared.borrowers:
                self._close(pool_options)

    def _close_idle(self) -> None:
        for pool_options in [pool_options for pool_options, shared in self._shared.items() if not shared.borrowers]:
            self._close(pool_options)

    def _close(self, pool_options: PoolOptions) -> None:
        shared = self._shared.pop(pool_options)
        if shared.closing is not None:
            shared.closing.cancel()
        shared.pool.shutdown(wait=True, cancel_futures=shared.failed)


def open_pool(pool_options: PoolOptions) -> BatchExecutor:
    """Open a pool with the given options.

    Raises
    ------
    AsyncBatchError
        If the stack can't be used.
    """
    leave_by_exception()  # otherwise SIGTERM would leave queues and jobs behind
    pool = BatchExecutor(
        pool_options.workers,
        launcher=pool_options.launcher,
        settings=pool_options.settings,
        embedded=pool_options.local,
    )
    log.info(
        "pool opened",
        extra={"action": "pool_opened", "workers": pool_options.workers, "launcher": pool_options.launcher},
    )
    return pool


POOLS: Final = Pools(open_pool)
"""The pools of this process, since RIOS creates new managers for each `apply`."""

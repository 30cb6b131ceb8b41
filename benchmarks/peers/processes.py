"""The standard library's process pool, which uses pipes on one machine."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any, ClassVar

_shared: object = None


def _keep_shared(shared: object) -> None:
    global _shared  # noqa: PLW0603 - an initializer has no other place
    _shared = shared


def _call_with_shared(function: Callable[..., Any], block: object) -> object:
    return function(block, shared=_shared)


class Processes:
    """A `ProcessPoolExecutor`."""

    has_workers: ClassVar[bool] = True

    def open(self, workers: int) -> None:
        """Open the pool."""
        self._workers = workers
        self._pool = ProcessPoolExecutor(workers)

    def map(self, function: Callable[..., Any], blocks: Sequence[Any], *, shared: object = None) -> Iterator[Any]:
        """Map all blocks; processes receive a shared value when they start."""
        if shared is None:
            return self._pool.map(function, blocks)
        self._pool.shutdown()
        self._pool = ProcessPoolExecutor(self._workers, initializer=_keep_shared, initargs=(shared,))
        return self._pool.map(partial(_call_with_shared, function), blocks)

    def close(self) -> None:
        """Close the pool."""
        self._pool.shutdown()

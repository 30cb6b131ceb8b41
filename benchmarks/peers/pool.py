"""asyncbatch, with workers on this machine and an endpoint with AWS-like latency."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

from asyncbatch import BatchExecutor


class Pool:
    """A `BatchExecutor`."""

    has_workers: ClassVar[bool] = True
    chunksize: ClassVar[int] = 1

    def open(self, workers: int) -> None:
        """Open the pool."""
        self._pool = BatchExecutor(workers, launcher="subprocess")

    def map(self, function: Callable[..., Any], blocks: Sequence[Any], *, shared: object = None) -> Iterator[Any]:
        """Map all blocks; a shared value becomes part of the program."""
        program = function if shared is None else self._pool.program(function, shared=shared)
        # The few tiles that check whether all workers are up must not share a chunk.
        chunksize = self.chunksize if len(blocks) > 2 * self.chunksize else 1
        return self._pool.map(program, blocks, chunksize=chunksize)

    def close(self) -> None:
        """Close the pool."""
        self._pool.shutdown()


class PoolWithChunks(Pool):
    """A `BatchExecutor` that computes several calls in one tile."""

    chunksize = 20

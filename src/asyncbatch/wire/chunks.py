"""Puts several calls into one tile, for `map`'s `chunksize`: both main's and the worker's part."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from itertools import islice
from typing import Any


class Chunks:
    """Groups calls into tiles, and splits the tiles' results.

    Parameters
    ----------
    calls : iterable of tuple
        The arguments of each call.
    size : int
        Number of calls in a tile.
    """

    def __init__(self, calls: Iterable[tuple[Any, ...]], size: int) -> None:
        self._calls = iter(calls)
        self._size = size
        self._lengths: deque[int] = deque()

    def __iter__(self) -> Iterator[tuple[list[tuple[Any, ...]]]]:
        """Yield the arguments of each tile: a list of calls."""
        while chunk := list(islice(self._calls, self._size)):
            self._lengths.append(len(chunk))
            yield (chunk,)

    def flatten(self, results: Generator[Any, None, None]) -> Iterator[Any]:
        """Yield the result of each call, given those of the tiles; a tile's error applies to all its calls."""
        with closing(results):
            for result in results:
                length = self._lengths.popleft()
                yield from result if isinstance(result, list) else [result] * length


def compute_chunk(fn: Callable[..., Any], calls: list[tuple[Any, ...]]) -> list[Any]:
    """Compute a tile: return the function's result for each call."""
    return [fn(*args) for args in calls]

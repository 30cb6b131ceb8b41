"""Tiles in flight, read in the order in which they were submitted: what all maps share."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar


class InFlight(Protocol):
    """A tile that has been submitted."""

    @property
    def future(self) -> Future[Any]:
        """The future of its result."""


T = TypeVar("T", bound=InFlight)


class TileWindow(Generic[T]):
    """Tiles in the order of their submission. Those still in it at the end of its ``with`` block are cancelled.

    Parameters
    ----------
    limit : callable
        Returns the number of tiles that may be in flight at this moment, 1 or more.

    Notes
    -----
    It waits for nothing, so that blocking and asyncio callers can use it: they add a tile, then wait for the first one
    and remove it as long as `is_due`, and in the end as long as there is one.
    """

    def __init__(self, limit: Callable[[], int]) -> None:
        self._limit = limit
        self._tiles: deque[T] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for tile in self._tiles:
            tile.future.cancel()

    def __len__(self) -> int:
        return len(self._tiles)

    @property
    def first(self) -> T:
        """The tile that was submitted first."""
        return self._tiles[0]

    @property
    def is_due(self) -> bool:
        """Whether to read the first tile before another is added: it is done, or the window is full."""
        return bool(self._tiles) and (self.first.future.done() or len(self._tiles) >= self._limit())

    def add(self, tile: T) -> None:
        """Add a tile that has just been submitted."""
        self._tiles.append(tile)

    def pop(self) -> T:
        """Remove the first tile and return it."""
        return self._tiles.popleft()

"""A window of tiles in flight, read in the order of submission. Used by all maps."""

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
    """Tiles in the order of submission. Tiles that remain at the end of the ``with`` block are cancelled.

    Parameters
    ----------
    limit : callable
        Returns the current limit of tiles in flight, 1 or more.

    Notes
    -----
    It never waits, so that both blocking and asyncio callers can use it: they add a tile, then wait for the first one
    and remove it while `is_due`, and at the end while there is one.
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
        """Whether to read the first tile before adding another: it is done, or the window is full."""
        return bool(self._tiles) and (self.first.future.done() or len(self._tiles) >= self._limit())

    def add(self, tile: T) -> None:
        """Add a tile that has just been submitted."""
        self._tiles.append(tile)

    def pop(self) -> T:
        """Remove the first tile and return it."""
        return self._tiles.popleft()

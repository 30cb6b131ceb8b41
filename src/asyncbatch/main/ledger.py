"""The tiles of a run that are not done. It has no clock and does no I/O.

A tile's state changes ``waiting → sending → announced → accepted``. It is then removed, so that the ledger's size
depends on the window, not on the number of tiles.
"""

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from asyncbatch.errors import AsyncBatchError
from asyncbatch.main.tile import State, Tile


@dataclass(slots=True, kw_only=True)
class Ledger:
    """Keeps the states of tiles, and decides which to send next."""

    next_index: int = 0
    duplicates: int = 0
    """Number of results that were dropped, since their tile already had one or was cancelled."""
    _tiles: dict[int, Tile] = field(default_factory=dict)
    _waiting: deque[Tile] = field(default_factory=deque)
    _counts: Counter[State] = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self._tiles)

    def __iter__(self) -> Iterator[Tile]:
        """Iterate over all tiles that are not done; the ledger may change during the iteration."""
        return iter(list(self._tiles.values()))

    def get(self, index: int) -> Tile | None:
        """Return the tile with an index, or None if it is done."""
        return self._tiles.get(index)

    def add(self, tile: Tile) -> None:
        """Add a new tile and set its index."""
        tile.index, tile.state = self.next_index, State.WAITING
        self.next_index += 1
        self._tiles[tile.index] = tile
        self._waiting.append(tile)
        self._counts[State.WAITING] += 1

    def take(self, window: int) -> Tile | None:
        """Return the tile to send now, or None if no tile waits or `window` tiles are in flight."""
        if self.in_flight >= window:
            return None
        while self._waiting:
            tile = self._waiting.popleft()
            if tile.index in self._tiles and tile.state is State.WAITING:
                self._move(tile, State.SENDING)
                return tile
        return None

    def note_announced(self, tile: Tile) -> None:
        """Note that a tile's message has been sent.

        Its result may already have arrived, since a response can be slower than a worker.
        """
        if tile.state is State.SENDING and tile.index in self._tiles:
            self._move(tile, State.ANNOUNCED)

    def accept(self, index: int) -> Tile | None:
        """Accept a result and return its tile, or return None if it is not the first for its tile.

        Delivery is at least once: later results are dropped here.

        Raises
        ------
        AsyncBatchError
            If there is no such tile.
        """
        if not 0 <= index < self.next_index:
            raise AsyncBatchError(f"result for unknown tile {index}; tiles 0 to {self.next_index - 1} were sent")
        tile = self._tiles.get(index)
        if tile is None or tile.state is State.ACCEPTED:
            self.duplicates += 1
            return None
        self._move(tile, State.ACCEPTED)
        return tile

    def remove(self, tile: Tile) -> None:
        """Remove a tile that is done, failed or cancelled; does nothing if it has been removed."""
        if self._tiles.pop(tile.index, None) is not None:
            self._counts[tile.state] -= 1

    def list_outstanding(self) -> list[Tile]:
        """Return the tiles that were announced but have no result."""
        return [tile for tile in self._tiles.values() if tile.state is State.ANNOUNCED]

    @property
    def in_flight(self) -> int:
        """Tiles that are being sent or have been announced."""
        return self._counts[State.SENDING] + self._counts[State.ANNOUNCED]

    @property
    def announced(self) -> int:
        """Tiles that workers can receive or have received."""
        return self._counts[State.ANNOUNCED]

    @property
    def waiting(self) -> int:
        """Tiles that have not been sent."""
        return self._counts[State.WAITING]

    @property
    def backlog(self) -> int:
        """Number of tiles that workers still have to compute, as far as main knows."""
        return self.in_flight + self.waiting

    def _move(self, tile: Tile, state: State) -> None:
        self._counts[tile.state] -= 1
        self._counts[state] += 1
        tile.state = state

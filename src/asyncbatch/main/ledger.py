"""The state of every tile of a run. It decides and never waits: no clock, no I/O.

A tile goes ``waiting → sending → announced → settled``. Settled tiles are forgotten, so that the ledger's size
follows the window and not the number of tiles.
"""

from collections import deque
from dataclasses import dataclass, field
from enum import Enum

from asyncbatch.errors import AsyncBatchError


class State(Enum):
    """Where a tile stands."""

    WAITING = "waiting"
    SENDING = "sending"
    ANNOUNCED = "announced"


@dataclass(slots=True, kw_only=True)
class Ledger:
    """Which tiles wait, are under way, or are settled; and which may go next."""

    next_index: int = 0
    settled: int = 0
    duplicates: int = 0
    under_way: int = 0
    """Tiles that are being sent or have been announced."""
    sending: int = 0
    """Those of them that are being sent."""
    _states: dict[int, State] = field(default_factory=dict)
    _waiting: deque[int] = field(default_factory=deque)

    def open(self) -> int:
        """Take in a new tile and return its index."""
        index = self.next_index
        self.next_index += 1
        self._states[index] = State.WAITING
        self._waiting.append(index)
        return index

    def take(self, window: int) -> int | None:
        """Return the index of the tile to send now, or None if none waits or `window` are under way."""
        if self.under_way >= window:
            return None
        while self._waiting:
            index = self._waiting.popleft()
            if self._states.get(index) is State.WAITING:
                self._states[index] = State.SENDING
                self.under_way += 1
                self.sending += 1
                return index
        return None

    def announced(self, index: int) -> None:
        """Note that a tile's message has been sent.

        Its result may have come back before: a response can be slower than a worker.
        """
        if self._states.get(index) is State.SENDING:
            self._states[index] = State.ANNOUNCED
            self.sending -= 1

    def settle(self, index: int) -> bool:
        """Note a tile's end and return True, or return False if it had ended before.

        Delivery is at least once: whatever comes second is dropped here.

        Raises
        ------
        AsyncBatchError
            If there never was such a tile.
        """
        if not 0 <= index < self.next_index:
            raise AsyncBatchError(f"result for tile {index}, but only tiles 0 to {self.next_index - 1} were sent")
        state = self._states.pop(index, None)
        if state is None:
            self.duplicates += 1
            return False
        self._leave(state)
        self.settled += 1
        return True

    def withdraw(self, index: int) -> bool:
        """Forget a tile that was cancelled; return whether it had been announced to the workers."""
        state = self._states.pop(index)
        self._leave(state)
        return state is State.ANNOUNCED

    def outstanding(self) -> list[int]:
        """Return the indices of the tiles that were announced and have not ended."""
        return [index for index, state in self._states.items() if state is State.ANNOUNCED]

    @property
    def waiting(self) -> int:
        """Tiles that have not been sent."""
        return len(self._states) - self.under_way

    def _leave(self, state: State) -> None:
        """Take a tile out of the counts."""
        self.under_way -= state is not State.WAITING
        self.sending -= state is State.SENDING

"""Sends slow tiles a second time near the end; the first result of either copy counts."""

import logging
from typing import Final

import anyio

from asyncbatch.batching.speculation import Outstanding, Speculation
from asyncbatch.errors import AwsError
from asyncbatch.events import TileCopied
from asyncbatch.main.ledger import Ledger
from asyncbatch.main.observers import Observers
from asyncbatch.main.sender import Sender
from asyncbatch.main.supervisor import Supervisor
from asyncbatch.main.tile import State, Tile
from asyncbatch.wire.messages import Result

log: Final = logging.getLogger(__name__)


class Speculator:
    """Notes what results say of tiles' times, and sends copies of slow tiles to idle slots.

    Parameters
    ----------
    ledger : Ledger
        The run's tiles.
    supervisor : Supervisor
        The run's workers.
    sender : Sender
        Sends the copies.
    observers : Observers
        Told of each copy.
    """

    def __init__(self, *, ledger: Ledger, supervisor: Supervisor, sender: Sender, observers: Observers) -> None:
        self._ledger = ledger
        self._supervisor = supervisor
        self._sender = sender
        self._observers = observers
        self._policy = Speculation()
        self._awake = anyio.Event()
        self._racing: set[int] = set()
        """Tiles of which one more copy is under way than the ledger knows."""

    @property
    def racing(self) -> bool:
        """Whether workers may be computing copies of tiles that are done."""
        return bool(self._racing)

    def note_result(self, result: Result, tile: Tile | None) -> None:
        """Note a result, and its tile if the result is the first."""
        if tile is None:
            self._racing.discard(result.index)
        elif result.outcome == "ok":
            self._policy.note_result(tile.program.digest, result.seconds)

    def awaits_other(self, result: Result) -> bool:
        """Note that the original or the copy of a tile is lost, and return whether the other one may still succeed."""
        tile = self._ledger.get(result.index)
        if tile is None or not tile.copied or tile.state is State.ACCEPTED:
            return False
        self._racing.discard(result.index)
        # The second time it may be the same one again: it was announced anew, since the message of the other is gone.
        first, tile.half_lost = not tile.half_lost, True
        return first

    def wake(self) -> None:
        """Look again: tiles or workers have changed."""
        if not self._ledger.waiting:
            self._awake.set()

    async def run(self) -> None:
        """Send copies until cancelled."""
        while True:
            self._awake = anyio.Event()
            now = anyio.current_time()
            self._policy.note_idle(self._count_idle(), now)
            outstanding = self._list_outstanding()
            due = self._policy.find_due(outstanding, now)
            for index in due:
                await self._send_copy(index)
            if due:
                continue
            time = self._policy.find_next_time(outstanding)
            # While all idle slots have been given copies, only a result brings news.
            pause = None if time is None or time <= now else time - now
            with anyio.move_on_after(pause):
                await self._awake.wait()

    def _count_idle(self) -> int:
        """Return the number of slots without work, as far as main knows."""
        if self._ledger.waiting:
            return 0
        return self._supervisor.slots - self._ledger.in_flight - len(self._racing)

    def _list_outstanding(self) -> list[Outstanding]:
        if self._count_idle() <= 0:  # as nearly always: the ledger need not be looked through
            return []
        return [
            Outstanding(tile=tile.index, program=tile.program.digest, sent=tile.sent)
            for tile in self._ledger.list_outstanding()
            if not tile.copied and tile.program.speculate and not tile.program.options.retry_on
        ]

    async def _send_copy(self, index: int) -> None:
        tile = self._ledger.get(index)
        if tile is None or tile.copied:
            return
        tile.copied = True
        self._racing.add(index)
        try:
            await self._sender.send_copy(tile)
        except AwsError as error:
            self._racing.discard(index)
            log.warning(
                "tile %d not sent a second time: %s", index, error, extra={"action": "copy_failed", "tile": index}
            )
        else:
            self._observers.observe(TileCopied(tile=index))

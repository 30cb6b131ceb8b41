"""Sends slow tiles a second time near the end; the first result of either copy counts."""

import logging
from typing import Final

import anyio

from asyncbatch.batching.speculation import Gains, Outstanding, Speculation
from asyncbatch.errors import AwsError
from asyncbatch.events import TileCopied
from asyncbatch.main.ledger import Ledger
from asyncbatch.main.observers import Observers
from asyncbatch.main.sender import Sender
from asyncbatch.main.supervisor import Supervisor
from asyncbatch.main.tile import State, Tile
from asyncbatch.wire.messages import Result

log: Final = logging.getLogger(__name__)

_PAUSE: Final = 0.25
"""Seconds between checks of the tiles. With a thousand slots, a check after each result would keep main busy."""


class Speculator:
    """Learns tiles' times from results, and sends copies of slow tiles to idle slots.

    Parameters
    ----------
    ledger : Ledger
        The run's tiles.
    supervisor : Supervisor
        The run's workers.
    sender : Sender
        Sends the copies.
    observers : Observers
        Notified of each copy.
    """

    def __init__(self, *, ledger: Ledger, supervisor: Supervisor, sender: Sender, observers: Observers) -> None:
        self._ledger = ledger
        self._supervisor = supervisor
        self._sender = sender
        self._observers = observers
        self._policy = Speculation()
        self.gains = Gains()
        self._awake = anyio.Event()
        self._alert = True
        """Whether any event is relevant: no time is set for the next check, or slots are idle."""
        self._racing: set[int] = set()
        """Tiles with one more copy in flight than the ledger counts."""

    @property
    def racing(self) -> bool:
        """Whether workers may be computing copies of tiles that are done."""
        return bool(self._racing)

    def note_result(self, result: Result, tile: Tile | None) -> None:
        """Note a result, and its tile if the result is the first."""
        now = anyio.current_time()
        if tile is None:
            self._racing.discard(result.index)
            if not result.copy:  # and not the copy's result again
                self.gains.note_original(result.index, now)
        elif result.outcome == "ok":
            self._policy.note_result(tile.program.digest, result.seconds, now)
            if result.copy:
                self.gains.note_copy(result.index, now)

    def awaits_other(self, result: Result) -> bool:
        """Note that the original or the copy of a tile is lost, and return whether the other one may still succeed."""
        tile = self._ledger.get(result.index)
        if tile is None or not tile.copied or tile.state is State.ACCEPTED:
            return False
        self._racing.discard(result.index)
        # The same copy may be reported lost twice, if it was announced again because the other's message is lost.
        first, tile.half_lost = not tile.half_lost, True
        return first

    def wake(self) -> None:
        """Check again soon, because tiles or workers have changed. Costs almost nothing while all slots have work."""
        if self._alert or self._count_idle() > 0:
            self._awake.set()

    async def run(self) -> None:
        """Send copies until cancelled."""
        while True:
            self._awake = anyio.Event()
            time = await self._check(anyio.current_time())
            self._alert = time is None or self._count_idle() > 0
            with anyio.move_on_after(None if time is None else time - anyio.current_time()):
                await self._awake.wait()
                await anyio.sleep(_PAUSE)

    async def _check(self, now: float) -> float | None:
        """Send the copies that are due, and return when to check again if nothing happens; None for never."""
        ledger = self._ledger
        self._policy.note_load(
            now,
            slots=self._supervisor.slots,
            in_flight=ledger.in_flight,
            copies=len(self._racing),
            waiting=ledger.waiting,
        )
        outstanding = self._list_outstanding()
        due = self._policy.find_due(outstanding, now)
        for index in due:
            await self._send_copy(index)
        time = self._policy.find_next_time([each for each in outstanding if each.tile not in due])
        return None if time is None or time <= now else time  # there may be more due tiles than slots

    def _count_idle(self) -> int:
        """Return the number of slots without work, as far as main knows."""
        return self._supervisor.slots - self._ledger.in_flight - len(self._racing)

    def _list_outstanding(self) -> list[Outstanding]:
        if self._ledger.waiting:
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

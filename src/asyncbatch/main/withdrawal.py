"""Removes cancelled tiles from the task queue if no worker has received them."""

import logging
from typing import Final

import anyio

from asyncbatch.aws.protocols import Received
from asyncbatch.errors import AwsError, MessageError
from asyncbatch.main.run import Run
from asyncbatch.main.sender import Sender
from asyncbatch.wire.messages import BATCH_LIMIT, Task, pack, unpack, unseal

log: Final = logging.getLogger(__name__)

_BURST: Final = 0.05
"""Seconds to wait for more cancellations, since an abandoned `map` cancels its whole window."""

_SEARCH_LEASE: Final = 10.0
"""Seconds for which a search hides the messages that it finds, in case main ends during the search."""

_MISSES: Final = 2
"""Number of consecutive receives without a withdrawn tile that end a search, since standard queues are not ordered."""


class Withdrawals:
    """Withdraws tiles in the background.

    Parameters
    ----------
    run : Run
        The opened run, whose task queue is searched.
    sender : Sender
        Sends messages again that the search removed.
    """

    def __init__(self, run: Run, *, sender: Sender) -> None:
        self._run = run
        self._sender = sender
        self._indices: set[int] = set()
        self._added = anyio.Event()

    def add(self, index: int) -> None:
        """Withdraw a tile soon."""
        self._indices.add(index)
        self._added.set()

    async def run(self) -> None:
        """Withdraw tiles until cancelled. Tiles that workers already hold are still computed."""
        while True:
            await self._added.wait()
            await anyio.sleep(_BURST)
            self._added = anyio.Event()
            indices, self._indices = self._indices, set()
            try:
                await self._withdraw(indices)
            except AwsError as error:
                log.warning("can't withdraw cancelled tiles: %s", error, extra={"action": "withdrawal_failed"})

    async def _withdraw(self, indices: set[int]) -> None:
        """Search the task queue for tiles, and remove them.

        Other tiles that the search finds are returned to the queue; as new messages if they were never delivered to a
        worker, so that the search does not count as a delivery. Groups that were delivered to a worker are not divided.

        Parameters
        ----------
        indices : set of int
            Indices of the tiles. Those that are found are removed from the set.
        """
        queue, misses = self._run.manifest.task_queue, 0
        while indices and misses < _MISSES:
            found = await self._run.sender.receive(queue, most=BATCH_LIMIT, wait=0, lease=_SEARCH_LEASE)
            if not found:
                return
            fresh, suspects, withdrawn = [], [], set[int]()
            for received in found:
                tiles = self._list_tiles(received)
                kept = [text for text, index in tiles if index not in indices]
                withdrawn |= {index for _, index in tiles if index is not None}
                if kept and received.deliveries == 1:
                    fresh.append(pack(kept))
                elif kept:
                    suspects.append(received.handle)
            if fresh:
                await self._sender.resend(fresh)
            if suspects:
                await self._run.sender.extend(queue, suspects, 0)
            if done := [received.handle for received in found if received.handle not in suspects]:
                await self._run.sender.remove(queue, done)
            misses = 0 if withdrawn & indices else misses + 1
            indices -= withdrawn

    def _list_tiles(self, received: Received) -> list[tuple[str, int | None]]:
        """Return the texts that a message combines, each with the index of its tile, or None if it is no tile."""
        manifest, found = self._run.manifest, list[tuple[str, int | None]]()
        for text in unpack(received.text):
            try:
                message = unseal(text, run=manifest.run, direction="task", key=manifest.key)
            except MessageError:
                found.append((text, None))
            else:
                found.append((text, message.index if isinstance(message, Task) else None))
        return found

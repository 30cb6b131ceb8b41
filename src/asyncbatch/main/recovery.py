"""Restores messages and programs that are lost in AWS during a run."""

import logging
from typing import Final

import anyio

from asyncbatch.errors import AccessDenied, AwsError, QueueGone
from asyncbatch.main.ledger import Ledger
from asyncbatch.main.reconcile import Reconciler
from asyncbatch.main.run import Run
from asyncbatch.main.sender import Sender
from asyncbatch.main.tile import State
from asyncbatch.wire.messages import ProgramDamaged, Returned

log: Final = logging.getLogger(__name__)


class Recovery:
    """Announces tiles again if their messages are lost, and uploads programs again if they are damaged or expire soon.

    Parameters
    ----------
    run : Run
        The opened run.
    ledger : Ledger
        The run's tiles.
    sender : Sender
        Sends them.
    """

    def __init__(self, run: Run, *, ledger: Ledger, sender: Sender) -> None:
        self._run = run
        self._ledger = ledger
        self._sender = sender
        self._reconciler = Reconciler(quiet=run.settings.lease)

    def note_news(self) -> None:
        """Note that a tile was announced, or that a worker reported on one."""
        self._reconciler.note_news(anyio.current_time())

    async def watch_messages(self) -> None:
        """Announce tiles again whose messages are lost, so that no tile is forgotten.

        Raises
        ------
        QueueGone
            If the task queue no longer exists.
        """
        manifest, sender = self._run.manifest, self._run.sender
        while True:
            await anyio.sleep(self._reconciler.interval)
            lost = self._ledger.list_outstanding()
            if not lost or not self._reconciler.is_quiet(anyio.current_time()):
                continue
            try:
                # Not the result queue, whose messages, such as heartbeats, main receives immediately.
                count = await sender.count(manifest.task_queue)
            except QueueGone:  # workers can't report it
                raise
            except AccessDenied as error:
                log.warning("can't detect lost messages: %s", error, extra={"action": "count_denied"})
                return
            except AwsError as error:
                log.warning("can't count messages: %s", error, extra={"action": "count_failed"})
                continue
            if self._reconciler.is_lost(count, anyio.current_time()):
                log.warning(
                    "messages of %d tiles were lost; announcing the tiles again",
                    len(lost),
                    extra={"action": "tiles_lost", "count": len(lost)},
                )
                await self._sender.send_again(tile for tile in lost if self._ledger.get(tile.index))

    async def send_alone(self, returned: Returned) -> None:
        """Announce tiles alone whose group a worker did not compute, so that their attempts count from now on.

        Raises
        ------
        AwsError
            If AWS rejects a message.
        """
        found = [tile for index in returned.tiles if (tile := self._ledger.get(index)) is not None]
        tiles = [tile for tile in found if not tile.alone and tile.state is not State.ACCEPTED]
        if not tiles:  # returned before, or done
            return
        log.warning(
            "worker %s returned %d tiles of a group; announcing them alone",
            returned.worker,
            len(tiles),
            extra={"action": "group_returned", "worker": returned.worker, "count": len(tiles)},
        )
        for tile in tiles:
            tile.alone = True
        await self._sender.send_again(tiles)

    async def keep_programs(self) -> None:
        """Renew the programs of tiles that are not done, before the bucket's lifecycle deletes them."""
        await self._sender.keep_programs(lambda: [tile.program for tile in self._ledger])

    async def replace_program(self, damaged: ProgramDamaged) -> None:
        """Upload a program again if a worker could not use it and a tile still needs it."""
        program = next((tile.program for tile in self._ledger if tile.program.digest == damaged.program), None)
        if program is None:
            return
        log.warning(
            "worker %s can't use program %s: %s",
            damaged.worker,
            damaged.program,
            damaged.reason,
            extra={"action": "program_damaged", "worker": damaged.worker, "program": damaged.program},
        )
        try:
            await self._sender.replace_program(program)
        except AwsError as error:
            log.warning("can't upload program %s: %s", program.digest, error, extra={"action": "upload_failed"})

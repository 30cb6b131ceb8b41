"""What a worker tells main about itself."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import anyio

from asyncbatch.aws.protocols import SendMessages
from asyncbatch.errors import AwsError
from asyncbatch.wire.manifest import Manifest
from asyncbatch.wire.messages import Goodbye, Heartbeat, seal
from asyncbatch.worker.lifecycle import Stop
from asyncbatch.worker.tiles import Tiles

log: Final = logging.getLogger(__name__)

_HEARTBEATS: Final = 4
"""In a run lease: main counts a worker as lost that it does not hear from for one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reporter:
    """Sends heartbeats and the goodbye."""

    manifest: Manifest
    tiles: Tiles
    sender: SendMessages
    requests: Callable[[], dict[str, int]]
    """Returns how many requests the worker has made, by operation."""

    async def send_heartbeats(self) -> None:
        """Send heartbeats until cancelled, whenever no result does instead."""
        while True:
            before = self.tiles.computed
            await anyio.sleep(self.manifest.run_lease / _HEARTBEATS)
            if self.tiles.computed == before:
                await self._send(Heartbeat(worker=self.tiles.worker))

    async def say_goodbye(self, stop: Stop) -> None:
        """Tell main that this worker leaves, and why."""
        tiles = self.tiles
        goodbye = Goodbye(
            worker=tiles.worker,
            reason=stop.value,
            tiles=tiles.computed,
            busy_seconds=tiles.busy_seconds,
            requests=self.requests(),
        )
        await self._send(goodbye)

    async def _send(self, message: Goodbye | Heartbeat) -> None:
        """Send a message that may also get lost."""
        manifest = self.manifest
        text = seal(message, run=manifest.run, direction="result", key=manifest.key)
        try:
            await self.sender.send(manifest.result_queue, [text])
        except AwsError as error:  # leases end by themselves, and main notices workers that are gone
            log.warning("message not sent", extra={"action": "message_not_sent", "why": error})

"""Sends a worker's heartbeats and its goodbye to main."""

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
"""Number of heartbeats per run lease, after which main considers a silent worker lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reporter:
    """Sends heartbeats and the goodbye."""

    manifest: Manifest
    tiles: Tiles
    sender: SendMessages
    requests: Callable[[], dict[str, int]]
    """Returns the worker's number of requests, by operation."""

    async def send_heartbeats(self) -> None:
        """Send heartbeats until cancelled, unless results are sent."""
        while True:
            before = self.tiles.computed
            await anyio.sleep(self.manifest.run_lease / _HEARTBEATS)
            if self.tiles.computed == before:
                await self._send(Heartbeat(worker=self.tiles.worker))

    async def say_goodbye(self, stop: Stop) -> None:
        """Send main the reason why this worker exits, and its statistics."""
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
        """Send a message; failures are logged and ignored."""
        manifest = self.manifest
        text = seal(message, run=manifest.run, direction="result", key=manifest.key)
        try:
            await self.sender.send(manifest.result_queue, [text])
        except AwsError as error:  # leases expire, and main detects lost workers
            log.warning("can't send a message to main", extra={"action": "message_not_sent", "why": error})

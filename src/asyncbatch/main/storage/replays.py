"""Stores failed tiles, so that the function's author can compute them again."""

import logging
from typing import Final

import anyio
import anyio.to_thread

from asyncbatch.aws.bodies import Bodies
from asyncbatch.aws.protocols import Content
from asyncbatch.errors import AsyncBatchError, TileError, TileLost
from asyncbatch.main.run import Run
from asyncbatch.main.storage.failed import FailedTiles
from asyncbatch.main.tile import Tile
from asyncbatch.wire.messages import Task, unseal

log: Final = logging.getLogger(__name__)


class Replays:
    """Stores the failed tiles of a run.

    Parameters
    ----------
    run : Run
        The opened run.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._tiles = FailedTiles(run.manifest.run)
        self._lock = anyio.Lock()

    async def keep(self, tile: Tile, error: AsyncBatchError) -> None:
        """Store a tile that failed because of its own error, and add the command that computes it again to the error.

        If storing fails, the error does not change.
        """
        if not isinstance(error, TileError | TileLost):
            return
        try:
            payload = await self._fetch_payload(tile)
            async with self._lock:
                error.replay = await anyio.to_thread.run_sync(
                    self._tiles.keep, tile.index, tile.program, payload, error.reason
                )
        except (AsyncBatchError, OSError) as failure:
            log.info(
                "tile %d can't be replayed: %s",
                tile.index,
                failure,
                extra={"action": "failed_tile_not_kept", "tile": tile.index},
            )

    async def _fetch_payload(self, tile: Tile) -> Content:
        """Return the payload from the message that announced the tile, or from the bucket."""
        manifest = self._run.manifest
        task = unseal(tile.announcement, run=manifest.run, direction="task", key=manifest.key)
        assert isinstance(task, Task)  # noqa: S101 - main sealed it as a task
        return await Bodies(blobs=self._run.objects).fetch(task.body)

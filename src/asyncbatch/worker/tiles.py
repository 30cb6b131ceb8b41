"""The life of one tile in a worker: payload, slot, result."""

import logging
from dataclasses import dataclass
from typing import Final, Protocol

from asyncbatch import codec
from asyncbatch.aws.outbox import Outbox
from asyncbatch.aws.protocols import GetBlob, PutBlob
from asyncbatch.errors import AsyncBatchError, BlobMissing
from asyncbatch.manifest import Manifest, out_key
from asyncbatch.messages import Body, Result, Task, seal
from asyncbatch.worker.appetite import Appetite
from asyncbatch.worker.programs import Programs
from asyncbatch.worker.slots import Computed, SlotDiedError, Slots

log: Final = logging.getLogger(__name__)


class Blobs(GetBlob, PutBlob, Protocol):
    """What a tile needs of the bucket."""


class GiveBackError(AsyncBatchError):
    """An attempt at a tile failed through no fault of the user's function: let another worker have it."""


@dataclass(slots=True, kw_only=True)
class Tiles:
    """Computes tiles and announces their results."""

    manifest: Manifest
    worker: str
    log_stream: str
    blobs: Blobs
    slots: Slots
    programs: Programs
    results: Outbox[str]
    appetite: Appetite
    computed: int = 0
    busy_seconds: float = 0.0

    async def compute(self, task: Task, attempt: int) -> Computed:
        """Compute a tile and return what became of it.

        Raises
        ------
        GiveBackError
            If the slot died and the tile has attempts left.
        """
        if attempt > self.manifest.max_attempts:
            return _lost("each attempt ended with a worker that died or fell silent")
        try:
            computed = await self._run(task)
        except BlobMissing as error:
            # Mostly a second delivery of a tile that is done, whose payload main has deleted; main knows.
            return _lost(str(error))
        except SlotDiedError as error:
            log.warning(
                "slot died", extra={"action": "slot_died", "tile": task.index, "attempt": attempt, "why": error}
            )
            if attempt < self.manifest.max_attempts:
                raise GiveBackError(str(error)) from error
            return _lost(str(error))
        self.computed += 1
        self.busy_seconds += computed.seconds
        self.appetite.computed(seconds=computed.seconds, size=task.body.size)
        return computed

    async def announce(self, task: Task, attempt: int, computed: Computed) -> None:
        """Make a result durable, then tell main of it; after that this worker no longer matters to the tile."""
        content = computed.content
        body = Body.of(content, key=out_key(self.manifest.run, task.index, self.worker, attempt))
        if body.key is not None:
            await self.blobs.put(body.key, content)
        result = Result(
            index=task.index,
            worker=self.worker,
            attempt=min(attempt, self.manifest.max_attempts),
            outcome=computed.outcome,
            seconds=computed.seconds,
            body=body,
            log_stream=self.log_stream,
        )
        run, key = self.manifest.run, self.manifest.key
        await self.results.deliver(seal(result, run=run, direction="result", key=key))

    async def _run(self, task: Task) -> Computed:
        body = task.body
        payload = body.inline
        if payload is None and body.key is not None:
            payload = await self.blobs.get(body.key, sha256=body.sha256)
        path = await self.programs.path(task.program)
        async with self.slots.claim() as slot:
            # Around what the user's function prints: `asyncbatch logs --tile` looks for these two.
            log.info("tile begun", extra={"action": "tile_begun", "tile": task.index})
            computed = await slot.compute(program=task.program, path=path, payload=payload or b"")
            log.info("tile done", extra={"action": "tile_done", "tile": task.index, "outcome": computed.outcome})
            return computed


def _lost(reason: str) -> Computed:
    return Computed(outcome="lost", seconds=0.0, content=codec.join(codec.encode(reason)))

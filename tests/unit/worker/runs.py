"""The run and the tiles of the workers in these tests."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from asyncbatch.aws.bodies import Bodies
from asyncbatch.batching.batcher import Batcher
from asyncbatch.batching.prefetch import Prefetch
from asyncbatch.wire.manifest import Manifest
from asyncbatch.worker.counts import Blobs, Counts
from asyncbatch.worker.held import Held
from asyncbatch.worker.programs import Programs
from asyncbatch.worker.slots import Slots
from asyncbatch.worker.tiles import Tiles

MANIFEST: Final = Manifest(
    run="run",
    task_queue="tasks",
    result_queue="results",
    token=b"key",
    salt=bytes(32),
    versions={},
    lease=30.0,
    run_lease=60.0,
    idle_timeout=60.0,
    max_attempts=3,
    slot_memory=0,
)


def make_tiles(*, bucket: Blobs, slots: Slots, folder: Path, send: Callable[[list[str]], Awaitable[None]]) -> Tiles:
    """Return the tiles of a worker, which sends messages to main with `send`, at once."""
    return Tiles(
        manifest=MANIFEST,
        worker="worker",
        log_stream="",
        blobs=bucket,
        bodies=Bodies(blobs=bucket),
        slots=slots,
        programs=Programs(blobs=bucket, folder=folder),
        results=Batcher(send, most=10, linger=lambda: 0.0),
        prefetch=Prefetch(slots=slots.count),
        held=Held(),
        counts=Counts(manifest=MANIFEST, blobs=bucket),
    )

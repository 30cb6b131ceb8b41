"""Runs a worker, from its environment to its exit status, in a process or in `asyncbatch.testing`."""

import logging
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import aiohttp
import anyio

from asyncbatch.aws.bodies import Bodies
from asyncbatch.aws.metadata import MachineMetadata
from asyncbatch.aws.objects import Objects
from asyncbatch.aws.queues import LONGEST_POLL, NEW, Queues
from asyncbatch.aws.session import AwsSession
from asyncbatch.batching.batcher import Batcher
from asyncbatch.batching.prefetch import Prefetch
from asyncbatch.errors import BlobMissing
from asyncbatch.wire.environment import WorkerEnvironment
from asyncbatch.wire.exitstatus import TERMINATED
from asyncbatch.wire.manifest import Manifest, manifest_key
from asyncbatch.wire.messages import MESSAGE_LIMIT, Hello, SealError, pack, seal
from asyncbatch.wire.versions import explain_mismatch, list_versions
from asyncbatch.worker import reclaim
from asyncbatch.worker.consumer import Consumer
from asyncbatch.worker.counts import Counts
from asyncbatch.worker.deliveries import Deliveries
from asyncbatch.worker.groups import Groups
from asyncbatch.worker.held import Held
from asyncbatch.worker.lifecycle import Lifecycle, Stop, watch_signals
from asyncbatch.worker.presence import Presence, RunBlobs
from asyncbatch.worker.programs import Programs
from asyncbatch.worker.reporter import Reporter
from asyncbatch.worker.shares import read_memory_limit
from asyncbatch.worker.slot import StartSlot
from asyncbatch.worker.slots import Slots
from asyncbatch.worker.tiles import RESULTS_TOGETHER, Tiles

log: Final = logging.getLogger(__name__)

_BROKEN: Final = 1
_REFUSED: Final = 3
_KEEPING: Final = 20  # connections: enough that hanging deletions do not block renewals


def exit_status(error: BaseException) -> int:
    """Return the exit status of a worker for an error."""
    return _REFUSED if isinstance(error, SealError) else _BROKEN


async def work(
    environment: WorkerEnvironment,
    session: AwsSession,
    *,
    make_start: Callable[[int], StartSlot],
    watch_termination: Callable[[Callable[[], None]], Awaitable[None]] = watch_signals,
) -> int:
    """Run a worker, and return its exit status.

    Parameters
    ----------
    environment : WorkerEnvironment
        The worker's environment.
    session : AwsSession
        The session for its clients.
    make_start : callable
        Returns a function that starts a slot, given the limit of memory for its tiles in bytes; 0 for no limit.
    watch_termination : callable
        See `Lifecycle`; by default waits for signals.

    Raises
    ------
    AsyncBatchError
        If the worker fails; `exit_status` returns its exit status.
    """
    objects = await Objects.open(session, environment.bucket)
    # Batch may start a worker within seconds, when some requests may not find the run's queues yet.
    sender = await Queues.open(session, new_for=NEW)
    try:
        manifest = Manifest.from_json(await objects.get(manifest_key(environment.run)), token=environment.token)
    except BlobMissing:
        log.warning("the run does not exist or has ended", extra={"action": "run_absent", "run": environment.run})
        return 0
    versions = list_versions(manifest.versions)
    hello = Hello(
        worker=environment.worker,
        slots=environment.slots,
        versions=versions,
        log_stream=environment.log_stream,
        refusal=explain_mismatch(manifest.versions, versions),
    )
    greeting = seal(hello, run=manifest.run, direction="result", key=manifest.key)
    if hello.refusal:
        await sender.send(manifest.result_queue, [greeting])
        return _REFUSED
    with tempfile.TemporaryDirectory(prefix="asyncbatch-") as folder:
        slots = Slots(environment.slots, Path(folder), start=make_start(manifest.slot_memory))
        async with slots.run():  # slots start while clients are created
            consumer = await _make_consumer(environment, manifest, session, objects, sender, slots, Path(folder))
            consumer.lifecycle.watch_termination = watch_termination
            await slots.wait_until_started()
            await sender.send(manifest.result_queue, [greeting])
            async with _watch_machine(environment.metadata_url) as leaving:
                # Batch may start a worker on a machine that will be reclaimed, where it must not receive tiles.
                consumer.lifecycle.stop = Stop.TERMINATED if leaving else None
                stop = await consumer.run()
    return {Stop.TERMINATED: TERMINATED, Stop.BROKEN: _BROKEN}.get(stop, 0)


@asynccontextmanager
async def _watch_machine(metadata_url: str) -> AsyncIterator[bool]:
    """Yield whether this machine will be reclaimed; terminate this process if this is announced during the block."""
    if not metadata_url:
        yield False
        return
    async with aiohttp.ClientSession() as http, anyio.create_task_group() as group:
        # A machine that blocks its jobs' access to the metadata service uses a file.
        in_file = await anyio.Path(reclaim.NOTICE_FILE.parent).is_dir()
        is_reclaimed = reclaim.is_noticed if in_file else MachineMetadata.open_at(http, metadata_url).is_reclaimed
        if await reclaim.is_announced(is_reclaimed):
            yield True
            return
        group.start_soon(reclaim.watch, is_reclaimed)
        yield False
        group.cancel_scope.cancel()


async def _make_consumer(  # noqa: PLR0917
    environment: WorkerEnvironment,
    manifest: Manifest,
    session: AwsSession,
    objects: Objects,
    sender: Queues,
    slots: Slots,
    folder: Path,
) -> Consumer:
    """Create a worker's parts. Creates all clients, since this blocks the loop, which would delay heartbeats."""

    async def send(texts: list[str]) -> None:
        await sender.send(manifest.result_queue, [pack(texts)])

    held, prefetch = Held(), Prefetch(slots=environment.slots)
    results: Batcher[str] = Batcher(
        send,
        most=RESULTS_TOGETHER,
        most_bytes=MESSAGE_LIMIT,
        size=lambda text: len(text) + 1,
        linger=lambda: prefetch.linger(held=held.uncomputed, storing=tiles.storing),
    )
    presence = Presence(manifest=manifest, blobs=objects)
    blobs = RunBlobs(blobs=objects, presence=presence)
    tiles = Tiles(
        manifest=manifest,
        worker=environment.worker,
        log_stream=environment.log_stream,
        blobs=blobs,
        bodies=Bodies(blobs=blobs),
        slots=slots,
        programs=Programs(blobs=objects, folder=folder),
        results=results,
        prefetch=prefetch,
        held=held,
        counts=Counts(manifest=manifest, blobs=blobs),
        memory=read_memory_limit() or os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
    )
    lifecycle = Lifecycle(presence=presence, lifeline=environment.lifeline)
    keeper = await Queues.open(session, connections=_KEEPING, new_for=NEW)
    return Consumer(
        manifest=manifest,
        tiles=tiles,
        groups=Groups(tiles=tiles),
        receiver=await Queues.open(session, longest_wait=LONGEST_POLL, new_for=NEW),
        # A separate client, since long polls must not delay renewals.
        deliveries=Deliveries(
            manifest.task_queue, keeper, lease=manifest.lease, on_gone=lifecycle.end_run, on_renewed=presence.note
        ),
        lifecycle=lifecycle,
        reporter=Reporter(manifest=manifest, tiles=tiles, sender=sender, requests=lambda: dict(session.requests)),
        idle_timeout=environment.idle_timeout or manifest.idle_timeout,
    )

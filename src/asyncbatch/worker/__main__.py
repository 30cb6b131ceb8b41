"""``asyncbatch-worker``: the entry point of a worker's container, and of a worker process on this machine."""

import logging
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import aiohttp
import anyio

from asyncbatch import folders, logs
from asyncbatch.aws.metadata import MachineMetadata
from asyncbatch.aws.objects import Objects
from asyncbatch.aws.outbox import Outbox
from asyncbatch.aws.queues import LONGEST_POLL, Queues
from asyncbatch.aws.session import AwsSession, open_session
from asyncbatch.errors import AsyncBatchError, BlobMissing, find_first
from asyncbatch.manifest import KEY_VARIABLE, Manifest, manifest_key
from asyncbatch.messages import BATCH_LIMIT, MESSAGE_LIMIT, Hello, SealError, seal
from asyncbatch.versions import mismatch, versions_here
from asyncbatch.worker import reclaim
from asyncbatch.worker.appetite import Appetite
from asyncbatch.worker.counts import Counts
from asyncbatch.worker.environment import WorkerEnvironment
from asyncbatch.worker.loop import Stop, Worker
from asyncbatch.worker.programs import Programs
from asyncbatch.worker.shares import choose_variables, read_memory_limit
from asyncbatch.worker.slots import Slots
from asyncbatch.worker.tiles import Tiles

log: Final = logging.getLogger(__name__)

_BROKEN: Final = 1
_REFUSED: Final = 3
_KEEPING: Final = 20  # connections: more than deletions that hang can take from renewals
_TERMINATED: Final = 128 + signal.SIGTERM  # non-zero, or Batch would count a reclaimed worker as done


def main() -> None:
    """Run a worker.

    It exits with 0 when its run is over, 143 when it was terminated, 3 when it or its run's manifest is refused, or 1
    when it is broken.
    """
    try:
        environment = WorkerEnvironment.read()
        os.environ.pop(KEY_VARIABLE, None)  # users' functions print their environment
        if environment.log_stream:
            os.dup2(sys.stdout.fileno(), sys.stderr.fileno())  # one pipe into the log keeps all lines in their order
            # Slots inherit them. Not on main's own machine, where a pool's process has what any process has.
            os.environ.update(choose_variables(os.environ, slots=environment.slots, memory=read_memory_limit()))
        logs.configure(os.environ.get("ASYNCBATCH_LOG", "INFO" if environment.log_stream else "WARNING"))
        try:
            status = anyio.run(_work, environment)
        finally:
            if environment.run_folder:
                folders.leave(Path(tempfile.gettempdir()), Path(environment.run_folder))
    except* AsyncBatchError as group:
        error = find_first(group)
        print(f"asyncbatch-worker: error: {error}", file=sys.stderr)  # noqa: T201 - this is its command line
        status = _REFUSED if isinstance(error, SealError) else _BROKEN
    sys.exit(status)


async def _work(environment: WorkerEnvironment) -> int:
    with tempfile.TemporaryDirectory(prefix="asyncbatch-") as folder:
        slots = Slots(environment.slots, Path(folder))
        async with slots.running():  # they start while this process asks AWS
            return await _serve(environment, slots, Path(folder))


async def _serve(environment: WorkerEnvironment, slots: Slots, folder: Path) -> int:
    async with open_session(region=environment.region, endpoint_url=environment.endpoint_url) as session:
        objects = await Objects.open(session, environment.bucket)
        sender = await Queues.open(session)
        try:
            manifest = Manifest.from_json(await objects.get(manifest_key(environment.run)), token=environment.token)
        except BlobMissing:
            log.warning("no such run, or it is over", extra={"action": "run_absent", "run": environment.run})
            return 0
        versions = versions_here(manifest.versions)
        hello = Hello(
            worker=environment.worker,
            slots=environment.slots,
            versions=versions,
            log_stream=environment.log_stream,
            refusal=mismatch(manifest.versions, versions),
        )
        greeting = seal(hello, run=manifest.run, direction="result", key=manifest.key)
        if hello.refusal:
            await sender.send(manifest.result_queue, [greeting])
            return _REFUSED
        worker = await _worker(environment, manifest, session, objects, sender, slots, folder)
        await slots.wait_until_started()
        await sender.send(manifest.result_queue, [greeting])
        async with _watched_machine(environment.metadata_url) as leaving:
            # Batch may start a worker on a machine that is about to go: it must take no tile there.
            stop = await worker.run(stop=Stop.TERMINATED if leaving else None)
    return {Stop.TERMINATED: _TERMINATED, Stop.BROKEN: _BROKEN}.get(stop, 0)


@asynccontextmanager
async def _watched_machine(metadata_url: str) -> AsyncIterator[bool]:
    """Yield whether this machine is about to be taken back; terminate this process when it is within the block."""
    if not metadata_url:
        yield False
        return
    async with aiohttp.ClientSession() as http, anyio.create_task_group() as group:
        machine = MachineMetadata.over(http, metadata_url)
        if await reclaim.is_announced(machine.taken_back):
            yield True
            return
        group.start_soon(reclaim.watch, machine.taken_back)
        yield False
        group.cancel_scope.cancel()


async def _worker(  # noqa: PLR0917
    environment: WorkerEnvironment,
    manifest: Manifest,
    session: AwsSession,
    objects: Objects,
    sender: Queues,
    slots: Slots,
    folder: Path,
) -> Worker:
    """Put a worker together. All clients are made here: making one blocks the loop, and heartbeats must not wait."""

    async def send(texts: list[str]) -> None:
        await sender.send(manifest.result_queue, texts)

    def patience() -> float:
        return tiles.appetite.patience(worker.computing)

    results: Outbox[str] = Outbox(send, most=BATCH_LIMIT, most_bytes=MESSAGE_LIMIT, size=len, patience=patience)
    tiles = Tiles(
        manifest=manifest,
        worker=environment.worker,
        log_stream=environment.log_stream,
        blobs=objects,
        slots=slots,
        programs=Programs(blobs=objects, folder=folder),
        results=results,
        appetite=Appetite(slots=environment.slots),
        counts=Counts(manifest=manifest, blobs=objects),
        memory=read_memory_limit() or os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
    )
    worker = Worker(
        manifest=manifest,
        tiles=tiles,
        receiver=await Queues.open(session, longest_wait=LONGEST_POLL),
        keeper=await Queues.open(session, connections=_KEEPING),
        sender=sender,
        blobs=objects,
        idle_timeout=environment.idle_timeout or manifest.idle_timeout,
        lifeline=environment.lifeline,
        requests=lambda: dict(session.requests),
    )
    return worker


if __name__ == "__main__":
    main()

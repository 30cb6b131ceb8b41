"""The way out: program, payload, announcement; and their withdrawal."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from math import inf
from typing import Final

import anyio

from asyncbatch.aws.protocols import Received
from asyncbatch.batching.batcher import Batcher
from asyncbatch.errors import AwsError, MessageError, ProgramError, find_first
from asyncbatch.main.pacer import Pacer
from asyncbatch.main.program import Program
from asyncbatch.main.run import RENEWAL, Run
from asyncbatch.main.tile import Tile
from asyncbatch.wire.manifest import OBJECT_LIMIT, PROGRAM_LIFE, in_key, program_key
from asyncbatch.wire.messages import BATCH_LIMIT, LONGEST_TILE, MESSAGE_LIMIT, Body, Sentinel, Task, seal, unseal

log: Final = logging.getLogger(__name__)

_UPLOADS: Final = 8
"""Payloads under way at one time. More finish no sooner, but all of them later: the first tiles are wanted first."""

_SENTINEL_BATCHES: Final = 32
"""Batches of sentinels under way at one time: workers are terminated that do not learn of the end in time."""

_SEARCH_LEASE: Final = 10.0
"""Seconds for which a search hides the messages that it looks at, should main end in the middle of it."""

_MISSES: Final = 2
"""Receives in a row without a withdrawn tile that end a search: standard queues keep no strict order."""


@dataclass(slots=True, kw_only=True)
class _Upload:
    """A program in the bucket."""

    lock: anyio.Lock = field(default_factory=anyio.Lock)
    due: float = -inf
    """When to look next whether it is there."""


class Sender:
    """Sends tiles to the workers.

    Parameters
    ----------
    run : Run
        The opened run.
    pacer : Pacer
        Decides how long announcements linger.
    """

    def __init__(self, run: Run, *, pacer: Pacer) -> None:
        self._run = run
        self._announcements: Batcher[str] = Batcher(
            self._announce,
            most=BATCH_LIMIT,
            most_bytes=MESSAGE_LIMIT,
            size=len,
            linger=lambda: pacer.pace(anyio.current_time()).linger,
        )
        self._uploads = anyio.CapacityLimiter(_UPLOADS)
        self._programs: dict[str, _Upload] = {}
        self.run = self._announcements.run

    async def send(self, tile: Tile) -> None:
        """Upload what is large, and announce the tile; then a worker can have it."""
        await self._upload_program(tile.program)
        async with self._uploads:
            if len(tile.content) > OBJECT_LIMIT:
                raise ProgramError(
                    f"the arguments of a tile have {len(tile.content)} bytes; S3 takes {OBJECT_LIMIT} at once; "
                    "pass a path, and let the function read what it needs"
                )
            body = Body.of(tile.content, key=in_key(self._run.manifest.run, tile.index))
            if body.key is not None:
                tile.in_key = body.key
                await self._run.objects.put(body.key, tile.content)
            tile.content = b""
        task = Task(
            index=tile.index,
            program=tile.program.digest,
            program_size=len(tile.program.content),
            body=body,
            timeout=tile.program.options.tile_timeout or self._run.settings.tile_timeout or LONGEST_TILE,
            retry_on=list(tile.program.options.retry_on),
        )
        tile.announcement = self._sealed(task)
        await self._announcements.deliver(tile.announcement)

    async def send_again(self, tiles: Iterable[Tile]) -> None:
        """Announce tiles once more whose messages are lost."""
        for tile in tiles:
            await self._announcements.deliver(tile.announcement)

    async def send_copy(self, tile: Tile) -> None:
        """Announce a tile a second time that is slow."""
        manifest = self._run.manifest
        task = unseal(tile.announcement, run=manifest.run, direction="task", key=manifest.key)
        assert isinstance(task, Task)  # noqa: S101 - so it was sealed
        await self._announcements.deliver(self._sealed(replace(task, copy=1)))

    async def send_sentinels(self, count: int) -> None:
        """Tell `count` workers to stop, by batches that go at the same time."""
        flights = anyio.CapacityLimiter(_SENTINEL_BATCHES)

        async def send(some: int) -> None:
            async with flights:
                await self._announce([self._sealed(Sentinel()) for _ in range(some)])

        try:
            async with anyio.create_task_group() as group:
                for start in range(0, count, BATCH_LIMIT):
                    group.start_soon(send, min(BATCH_LIMIT, count - start))
        except ExceptionGroup as errors:
            raise find_first(errors) from errors

    async def withdraw(self, indices: set[int]) -> None:
        """Take tiles that nobody wants out of the task queue, as far as no worker has received them.

        Other tiles that are met go back to the queue: as new messages where they never were delivered to a worker, so
        that the search does not count as a delivery.

        Parameters
        ----------
        indices : set of int
            The tiles. Those that are found are taken out of it.
        """
        queue, misses = self._run.manifest.task_queue, 0
        while indices and misses < _MISSES:
            found = await self._run.sender.receive(queue, most=BATCH_LIMIT, wait=0, lease=_SEARCH_LEASE)
            if not found:
                return
            wanted = [received for received in found if self._index(received) not in indices]
            fresh = [received for received in wanted if received.deliveries == 1]
            suspects = [received.handle for received in wanted if received.deliveries > 1]
            if fresh:
                await self._run.sender.send(queue, [received.text for received in fresh])
            if suspects:
                await self._run.sender.extend(queue, suspects, 0)
            if done := [received.handle for received in found if received.handle not in suspects]:
                await self._run.sender.remove(queue, done)
            misses = misses + 1 if len(wanted) == len(found) else 0
            indices -= {self._index(received) for received in found}

    async def replace_program(self, program: Program) -> None:
        """Upload a program again if the bucket does not hold it as it is."""
        self._programs.pop(program.digest, None)
        await self._upload_program(program)

    async def keep_programs(self, programs: Callable[[], Iterable[Program]]) -> None:
        """Renew the programs of tiles that are not done, before the bucket's life cycle deletes them."""
        while True:
            await anyio.sleep(RENEWAL)
            for program in {program.digest: program for program in programs()}.values():
                try:
                    await self._upload_program(program)
                except AwsError as error:
                    log.warning("program %s not renewed: %s", program.digest, error, extra={"action": "upload_failed"})

    async def _upload_program(self, program: Program) -> None:
        """Upload a program, and not at all if the bucket has it from another run or another day.

        One that is damaged is written again; so is one that is old, or the bucket's life cycle might delete it under
        this run.
        """
        upload = self._programs.setdefault(program.digest, _Upload())
        if anyio.current_time() < upload.due:
            return
        async with upload.lock:
            if anyio.current_time() < upload.due or self._programs.get(program.digest) is not upload:
                return
            if len(program.content) > OBJECT_LIMIT:
                raise ProgramError(
                    f"{program.name} with its shared arguments has {len(program.content)} bytes; S3 takes "
                    f"{OBJECT_LIMIT} at once; pass a path, and let the function read what it needs"
                )
            key = program_key(program.digest)
            found = await self._run.objects.describe(key)
            intact = found is not None and (found.size, found.sha256) == (len(program.content), program.digest)
            if found is not None and not intact:
                log.warning(
                    "the bucket's copy of program %s does not match (%d bytes, SHA-256 %s); uploading it again",
                    program.digest,
                    found.size,
                    found.sha256 or "unknown",
                    extra={"action": "program_replaced"},
                )
            if found is None or not intact or found.age > PROGRAM_LIFE / 2:
                await self._run.objects.put(key, program.content, sha256=program.digest)
            upload.due = anyio.current_time() + RENEWAL

    async def _announce(self, texts: list[str]) -> None:
        await self._run.sender.send(self._run.manifest.task_queue, texts)

    def _sealed(self, message: Task | Sentinel) -> str:
        manifest = self._run.manifest
        return seal(message, run=manifest.run, direction="task", key=manifest.key)

    def _index(self, received: Received) -> int | None:
        """Return the index of the tile that a message announces, or None if it is no tile of this run."""
        manifest = self._run.manifest
        try:
            message = unseal(received.text, run=manifest.run, direction="task", key=manifest.key)
        except MessageError:
            return None
        return message.index if isinstance(message, Task) else None

"""Sends tiles: uploads programs and payloads, and announces tiles."""

import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field, replace
from math import inf
from typing import Final, TypeVar

import anyio
from anyio.abc import TaskGroup

from asyncbatch.batching.batcher import Batcher
from asyncbatch.batching.pacing import Pacing
from asyncbatch.batching.tuning import TUNING
from asyncbatch.errors import AwsError, ProgramError, find_first
from asyncbatch.main.garbage import Garbage
from asyncbatch.main.pacer import Pacer
from asyncbatch.main.program import Program
from asyncbatch.main.run import RENEWAL, Run
from asyncbatch.main.tile import Tile
from asyncbatch.main.uploads import Uploads
from asyncbatch.wire.manifest import OBJECT_LIMIT, PROGRAM_LIFE, program_key
from asyncbatch.wire.messages import (
    BATCH_LIMIT,
    INLINE_LIMIT,
    LONGEST_TILE,
    MESSAGE_LIMIT,
    PROMPT_LIMIT,
    Body,
    Sentinel,
    Task,
    pack,
    seal,
    unseal,
)

T = TypeVar("T")

log: Final = logging.getLogger(__name__)

_BATCHES: Final = 32
"""Number of concurrent batches: workers that do not receive a sentinel in time are terminated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Announcement:
    text: str
    group: str = ""
    """The program whose tiles may share its message; empty if it is sent alone."""


@dataclass(slots=True, kw_only=True)
class _Upload:
    """A program in the bucket."""

    lock: anyio.Lock = field(default_factory=anyio.Lock)
    due: float = -inf
    """Time of the next check whether it exists."""


class Sender:
    """Sends tiles to the workers.

    Parameters
    ----------
    run : Run
        The opened run.
    pacer : Pacer
        Decides how long announcements linger.
    garbage : Garbage
        Deletes payloads.
    """

    def __init__(self, run: Run, *, pacer: Pacer, garbage: Garbage) -> None:
        self._run = run
        self._pacer = pacer
        self._announcements: Batcher[_Announcement] = Batcher(
            self._announce,
            most=lambda: BATCH_LIMIT * self._pace().group,
            most_bytes=MESSAGE_LIMIT,
            size=lambda announcement: len(announcement.text) + 1,
            linger=lambda: self._pace().linger,
        )
        self._large: Batcher[Tile] = Batcher(
            self._send_together,
            most=lambda: self._pace().group,
            most_bytes=TUNING.group_bytes,
            size=lambda tile: len(tile.content),
            linger=lambda: 0.0,
        )
        """Tiles whose payloads are uploaded together."""
        self._uploads = Uploads(run.manifest.run, objects=run.objects, garbage=garbage)
        self._programs: dict[str, _Upload] = {}

    async def run(self) -> None:
        """Send batches until cancelled."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._announcements.run)
            group.start_soon(self._large.run)

    async def send(self, tile: Tile, *, urgent: bool = False) -> None:
        """Upload a large payload and the program, and announce the tile; `urgent` if idle slots wait for it."""
        with self._uploads.delay_others() if urgent else nullcontext():
            await self._upload_program(tile.program)
            if not urgent:
                await self._uploads.wait_for_urgent()
            group = tile.program.digest if self._may_share(tile) else ""
            if group and not urgent and len(tile.content) > INLINE_LIMIT and self._count_in_group(group) > 1:
                await self._large.deliver(tile)
                return
            body = await self._uploads.store(tile, limit=PROMPT_LIMIT if urgent else INLINE_LIMIT)
            text = self._seal_task(tile, body, urgent=urgent)
            await self._announcements.deliver(_Announcement(text=text, group=group))

    async def _send_together(self, tiles: Sequence[Tile]) -> None:
        """Send tiles that share messages; the payloads for a message are uploaded as one object."""
        async with _open_group() as group:
            for part in self._divide(tiles, lambda tile: tile.program.digest):
                group.start_soon(self._send_group, part)

    async def _send_group(self, tiles: Sequence[Tile]) -> None:
        bodies = await self._uploads.store_together(tiles)
        texts = [self._seal_task(tile, body, urgent=False) for tile, body in zip(tiles, bodies, strict=True)]
        await self._send([pack(texts)])

    def _seal_task(self, tile: Tile, body: Body, *, urgent: bool) -> str:
        """Return the message that announces a tile, and keep it."""
        task = Task(
            index=tile.index,
            program=tile.program.digest,
            program_size=len(tile.program.content),
            body=body,
            timeout=tile.program.options.tile_timeout or self._run.settings.tile_timeout or LONGEST_TILE,
            retry_on=list(tile.program.options.retry_on),
            prompt=urgent or self._pace().prompt,
        )
        tile.announcement = self._seal(task)
        return tile.announcement

    async def send_again(self, tiles: Iterable[Tile]) -> None:
        """Announce tiles again whose messages are lost, or whose group was returned. Each has its own message."""
        await self.resend(tile.announcement for tile in tiles)

    async def send_copy(self, tile: Tile) -> None:
        """Announce a slow tile a second time."""
        manifest = self._run.manifest
        task = unseal(tile.announcement, run=manifest.run, direction="task", key=manifest.key)
        assert isinstance(task, Task)  # noqa: S101 - so it was sealed
        await self.resend([self._seal(replace(task, copy=1))])

    async def resend(self, texts: Iterable[str]) -> None:
        """Send messages about tiles that were sent before, each as it is."""
        await self._announcements.deliver(*(_Announcement(text=text) for text in texts))

    async def send_sentinels(self, count: int) -> None:
        """Send sentinels to `count` workers."""
        await self._send([self._seal(Sentinel()) for _ in range(count)])

    async def replace_program(self, program: Program) -> None:
        """Upload a program again if the bucket's copy is missing or damaged."""
        self._programs.pop(program.digest, None)
        await self._upload_program(program)

    async def keep_programs(self, programs: Callable[[], Iterable[Program]]) -> None:
        """Renew the programs of tiles that are not done, before the bucket's lifecycle deletes them."""
        while True:
            await anyio.sleep(RENEWAL)
            for program in {program.digest: program for program in programs()}.values():
                try:
                    await self._upload_program(program)
                except AwsError as error:
                    log.warning("can't renew program %s: %s", program.digest, error, extra={"action": "upload_failed"})

    async def _upload_program(self, program: Program) -> None:
        """Upload a program unless the bucket already has it.

        A damaged program is written again, and so is an old one, which the bucket's lifecycle might delete during this
        run.
        """
        upload = self._programs.setdefault(program.digest, _Upload())
        if anyio.current_time() < upload.due:
            return
        async with upload.lock:
            if anyio.current_time() < upload.due or self._programs.get(program.digest) is not upload:
                return
            if len(program.content) > OBJECT_LIMIT:
                raise ProgramError(
                    f"{program.name} with its shared arguments has {len(program.content)} bytes; S3 allows "
                    f"{OBJECT_LIMIT} per request. Pass a path, and read the data in the function"
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

    async def _announce(self, announcements: list[_Announcement]) -> None:
        texts = [announcement.text for announcement in announcements if not announcement.group]
        grouped = [announcement for announcement in announcements if announcement.group]
        parts = self._divide(grouped, lambda announcement: announcement.group)
        await self._send(texts + [pack(announcement.text for announcement in part) for part in parts])

    def _divide(self, items: Iterable[T], program: Callable[[T], str]) -> Iterator[list[T]]:
        """Divide tiles into those that share a message; `program` returns the digest of a tile's program."""
        found: dict[str, list[T]] = {}
        for item in items:
            found.setdefault(program(item), []).append(item)
        for digest, those in found.items():
            most = self._count_in_group(digest)
            for start in range(0, len(those), most):
                yield those[start : start + most]

    async def _send(self, texts: list[str]) -> None:
        """Send messages, in concurrent batches if there are more than one request can send."""
        limiter = anyio.CapacityLimiter(_BATCHES)

        async def send(start: int) -> None:
            async with limiter:
                await self._run.sender.send(self._run.manifest.task_queue, texts[start : start + BATCH_LIMIT])

        async with _open_group() as group:
            for start in range(0, len(texts), BATCH_LIMIT):
                group.start_soon(send, start)

    def _pace(self) -> Pacing:
        return self._pacer.pace(anyio.current_time())

    def _count_in_group(self, program: str) -> int:
        return self._pacer.count_in_group(program, anyio.current_time())

    def _may_share(self, tile: Tile) -> bool:
        """Return whether a tile may share its message: if its group fails, it is computed again, without a pause."""
        return (
            self._run.settings.max_attempts > 1
            and not tile.program.options.retry_on
            and len(tile.content) <= TUNING.group_payload
        )

    def _seal(self, message: Task | Sentinel) -> str:
        manifest = self._run.manifest
        return seal(message, run=manifest.run, direction="task", key=manifest.key)


@asynccontextmanager
async def _open_group() -> AsyncIterator[TaskGroup]:
    """Open a task group that raises the first error of its tasks."""
    try:
        async with anyio.create_task_group() as group:
            yield group
    except ExceptionGroup as errors:
        raise find_first(errors) from errors

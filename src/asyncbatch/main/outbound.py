"""The way out: program, payload, announcement."""

from collections.abc import Callable
from typing import Final

import anyio

from asyncbatch import codec
from asyncbatch.aws.outbox import Outbox
from asyncbatch.errors import ProgramError
from asyncbatch.main.program import Program
from asyncbatch.main.run import Run
from asyncbatch.main.ticket import Ticket
from asyncbatch.manifest import PROGRAM_LIFE, in_key, program_key
from asyncbatch.messages import BATCH_LIMIT, MESSAGE_LIMIT, Body, Sentinel, Task, seal

_UPLOADS: Final = 8
"""Payloads under way at one time. More finish no sooner, but all of them later: the first tiles are wanted first."""

_OBJECT_LIMIT: Final = 5 * 2**30
"""Bytes that S3 takes in one PutObject."""


class Outbound:
    """Sends tiles to the workers.

    Parameters
    ----------
    run : Run
        The opened run.
    patience : callable
        For how many seconds, at this moment, an announcement or a result may wait for others.
    """

    def __init__(self, run: Run, *, patience: Callable[[], float]) -> None:
        self._run = run
        self._patience = patience
        self._announcements: Outbox[str] = Outbox(
            self._announce, most=BATCH_LIMIT, most_bytes=MESSAGE_LIMIT, size=len, patience=patience
        )
        self._uploads = anyio.CapacityLimiter(_UPLOADS)
        self._programs: dict[str, anyio.Lock | None] = {}
        self.run = self._announcements.run

    async def send(self, index: int, ticket: Ticket) -> None:
        """Upload what is large, and announce the tile; then a worker can have it."""
        await self._upload_program(ticket.program)
        async with self._uploads:
            content = codec.join(ticket.parts)
            ticket.parts = []
            body = Body.of(content, key=in_key(self._run.manifest.run, index))
            if body.key is not None:
                ticket.in_key = body.key
                await self._run.objects.put(body.key, content)
            del content
        task = Task(
            index=index,
            program=ticket.program.digest,
            program_size=len(ticket.program.content),
            body=body,
            spare=self._patience(),
        )
        await self._announcements.deliver(self._sealed(task))

    async def send_sentinels(self, count: int) -> None:
        """Tell `count` workers to stop."""
        for start in range(0, count, BATCH_LIMIT):
            await self._announce([self._sealed(Sentinel())] * min(BATCH_LIMIT, count - start))

    async def _upload_program(self, program: Program) -> None:
        """Upload a program, once, and not at all if the bucket has it from another run.

        One that is there but old is written anew, or the bucket's life cycle might delete it under this run.
        """
        lock = self._programs.setdefault(program.digest, anyio.Lock())
        if lock is None:
            return
        async with lock:
            if self._programs[program.digest] is None:
                return
            if len(program.content) > _OBJECT_LIMIT:
                raise ProgramError(
                    f"{program.name} with its shared arguments has {len(program.content)} bytes; S3 takes "
                    f"{_OBJECT_LIMIT} at once; pass a path, and let the function read what it needs"
                )
            key = program_key(program.digest)
            age = await self._run.objects.age(key)
            if age is None or age.seconds > PROGRAM_LIFE / 2:
                await self._run.objects.put(key, program.content)
            self._programs[program.digest] = None

    async def _announce(self, texts: list[str]) -> None:
        await self._run.sender.send(self._run.manifest.task_queue, texts)

    def _sealed(self, message: Task | Sentinel) -> str:
        manifest = self._run.manifest
        return seal(message, run=manifest.run, direction="task", key=manifest.key)

"""A scheduler with queues and a bucket in memory, and a test that acts as its worker."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
import anyio.lowlevel
import numpy as np

from asyncbatch.aws.protocols import Received
from asyncbatch.events import Observer
from asyncbatch.main.liveness import Liveness
from asyncbatch.main.observers import Observers
from asyncbatch.main.program import Program, encode_arguments
from asyncbatch.main.scheduler import Scheduler
from asyncbatch.main.supervisor import Supervisor
from asyncbatch.main.tile import Tile
from asyncbatch.wire import codec
from asyncbatch.wire.manifest import out_key, out_key_of_group
from asyncbatch.wire.messages import (
    Body,
    Heartbeat,
    Hello,
    ProgramDamaged,
    Result,
    Returned,
    Task,
    pack,
    unpack,
    unseal,
)
from tests.unit.main.fakes import RESULTS, TASKS, FakeRun

PROGRAM = Program.of(abs, (), {})
LARGE = np.random.default_rng(0).bytes(200_000)


@dataclass(kw_only=True)
class Stage:
    """A scheduler, and methods with which a test acts as a worker."""

    run: FakeRun
    supervisor: Supervisor
    scheduler: Scheduler

    def submit(self, *args: object) -> Tile:
        tile = Tile(program=PROGRAM, content=encode_arguments(args, {}))
        self.scheduler.enqueue(tile)
        return tile

    async def take(self, count: int) -> list[Task]:
        """Receive tiles as a worker does, and delete their messages."""
        tasks: list[Task] = []
        while len(tasks) < count:
            for received in await self.run.queues.receive(TASKS, most=1, wait=60, lease=30):
                tasks += self.open(received)
                await self.run.queues.remove(TASKS, [received.handle])
        return tasks

    def open(self, received: Received) -> list[Task]:
        """Return the tiles of a message."""
        tasks = []
        for text in unpack(received.text):
            task = unseal(text, run=self.run.manifest.run, direction="task", key=self.run.manifest.key)
            assert isinstance(task, Task)
            tasks.append(task)
        return tasks

    def list_groups(self) -> list[list[int]]:
        """Return the indices of the tiles in each waiting message."""
        return [[task.index for task in self.open(received)] for received in self.run.queues.waiting[TASKS]]

    async def answer(self, task: Task, value: object, *, attempt: int = 1, seconds: float = 0.1) -> Result:
        """Send a tile's result."""
        key = out_key(self.run.manifest.run, task.index, "w", attempt)
        content = codec.join(codec.encode(value))
        body = Body.of(content, key=key)
        if body.key:
            await self.run.objects.put(key, content)
        result = Result(index=task.index, worker="w", attempt=attempt, outcome="ok", seconds=seconds, body=body)
        await self.run.queues.send(RESULTS, [self.run.sealed(result)])
        return result

    async def store_together(self, tasks: Sequence[Task], values: Sequence[object]) -> tuple[str, str]:
        """Store results as one object; return the message that announces them, and its key."""
        key = out_key_of_group(self.run.manifest.run, tasks[0].index, len(tasks), "w")
        content, bodies = Body.of_parts([codec.join(codec.encode(value)) for value in values], key=key)
        await self.run.objects.put(key, content)
        results = [
            Result(index=task.index, worker="w", attempt=1, outcome="ok", seconds=0.1, body=body)
            for task, body in zip(tasks, bodies, strict=True)
        ]
        return pack(map(self.run.sealed, results)), key

    async def say(self, message: Hello | Heartbeat | ProgramDamaged | Result | Returned) -> None:
        await self.run.queues.send(RESULTS, [self.run.sealed(message)])


@asynccontextmanager
async def staged(
    run: FakeRun | None = None, *, workers: int = 1, observers: Sequence[Observer] = ()
) -> AsyncIterator[Stage]:
    run = run or FakeRun()
    supervisor = Supervisor(wanted=workers, start_timeout=60.0, hearing=Liveness(limit=120.0))
    async with anyio.create_task_group() as group:
        scheduler = Scheduler(run.open(), supervisor=supervisor, observers=Observers(list(observers)), group=group)
        stage = Stage(
            run=run,
            supervisor=supervisor,
            scheduler=scheduler,
        )
        stage.scheduler.start()
        await stage.say(Hello(worker="w", slots=1, versions={}))
        yield stage
        group.cancel_scope.cancel()

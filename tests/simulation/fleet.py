"""A thousand workers as a few tasks of main's event loop. They compute nothing, so that main's own work is measured."""

from collections.abc import Sequence

import anyio
from anyio.abc import TaskGroup

from asyncbatch.aws.objects import Objects
from asyncbatch.aws.protocols import Received
from asyncbatch.aws.queues import Queues
from asyncbatch.aws.session import AwsSession
from asyncbatch.errors import QueueGone
from asyncbatch.launchers.base import Launcher, WorkerState
from asyncbatch.testing import MemoryAws
from asyncbatch.wire import codec
from asyncbatch.wire.environment import Assignment
from asyncbatch.wire.manifest import Manifest, manifest_key
from asyncbatch.wire.messages import Body, Goodbye, Hello, Message, Result, Task, seal, unseal
from asyncbatch.wire.versions import list_versions

_BATCH = 10


class Fleet(Launcher):
    """A launcher whose workers answer each task after the duration of a tile. Each task of the loop represents ten
    workers.

    Parameters
    ----------
    aws : MemoryAws
        The account.
    seconds : float
        Duration of a tile.
    """

    def __init__(self, aws: MemoryAws, *, seconds: float) -> None:
        self._aws = aws
        self._seconds = seconds
        self._content = codec.join(codec.encode(None))
        self.workers = 0

    async def start(self, assignment: Assignment, count: int, group: TaskGroup) -> None:
        """Start tasks, each of which represents ten workers."""
        for first in range(self.workers, self.workers + count, _BATCH):
            names = [str(name) for name in range(first, min(first + _BATCH, self.workers + count))]
            group.start_soon(self._run, assignment, names)
        self.workers += count

    async def states(self) -> Sequence[WorkerState]:
        """Return that all workers are alive."""
        return [WorkerState(worker=str(name), alive=True) for name in range(self.workers)]

    async def stop(self) -> None:
        """Do nothing, since the run's task group is cancelled."""

    async def _run(self, assignment: Assignment, names: list[str]) -> None:
        async with self._aws.open_session(region=assignment.region, endpoint_url=assignment.endpoint_url) as session:
            crew = await _Crew.open(session, assignment, names, seconds=self._seconds, content=self._content)
            await crew.work()


class _Crew:
    """Ten workers that share one loop. Each request represents requests of ten busy workers."""

    def __init__(self, queues: Queues, manifest: Manifest, names: list[str], *, seconds: float, content: bytes) -> None:
        self._queues = queues
        self._manifest = manifest
        self._names = names
        self._seconds = seconds
        self._content = content

    @classmethod
    async def open(
        cls, session: AwsSession, assignment: Assignment, names: list[str], *, seconds: float, content: bytes
    ) -> "_Crew":
        objects = await Objects.open(session, assignment.bucket)
        text = await objects.get(manifest_key(assignment.run))
        manifest = Manifest.from_json(bytes(text), token=assignment.token.hex())
        queues = await Queues.open(session, longest_wait=20.0)
        return cls(queues, manifest, names, seconds=seconds, content=content)

    async def work(self) -> None:
        """Send hellos, and compute until each worker has received a sentinel or the queue is deleted."""
        await self._send([Hello(worker=name, slots=1, versions=list_versions()) for name in self._names])
        left = list(self._names)
        try:
            while left:
                received = await self._queues.receive(self._manifest.task_queue, most=len(left), wait=20.0, lease=120.0)
                left = await self._handle(received, left)
        except QueueGone:
            return

    async def _handle(self, received: Sequence[Received], names: list[str]) -> list[str]:
        """Compute received tiles, and return the remaining workers."""
        if not received:
            return names
        tasks = [self._unseal(each.text) for each in received]
        computed = [task for task in tasks if isinstance(task, Task)]
        leaving = len(tasks) - len(computed)
        if computed:
            await anyio.sleep(self._seconds)
        await self._send([self._make_result(task, name) for task, name in zip(computed, names, strict=False)])
        await self._send(
            [
                Goodbye(worker=name, reason="sentinel", tiles=0, busy_seconds=0.0, requests={})
                for name in names[:leaving]
            ]
        )
        await self._queues.remove(self._manifest.task_queue, [each.handle for each in received])
        return names[leaving:]

    def _unseal(self, text: str) -> Message:
        return unseal(text, run=self._manifest.run, direction="task", key=self._manifest.key)

    def _make_result(self, task: Task, worker: str) -> Result:
        body = Body.of(self._content, key="")
        return Result(index=task.index, worker=worker, attempt=1, outcome="ok", seconds=self._seconds, body=body)

    async def _send(self, messages: Sequence[Message]) -> None:
        manifest = self._manifest
        texts = [seal(message, run=manifest.run, direction="result", key=manifest.key) for message in messages]
        if texts:
            await self._queues.send(manifest.result_queue, texts)

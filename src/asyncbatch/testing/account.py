"""An AWS account in memory."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from contextvars import Context
from dataclasses import replace
from functools import partial
from typing import Final

import anyio

from asyncbatch.aws.retries import OUTAGE
from asyncbatch.aws.session import AwsSession, Credentials
from asyncbatch.emulator.shelf import Shelf
from asyncbatch.emulator.sqs import Sqs
from asyncbatch.emulator.stack import ACCOUNT
from asyncbatch.settings import Settings
from asyncbatch.testing.client import MemorySession, Services
from asyncbatch.testing.clock import VirtualLoop, freeze
from asyncbatch.testing.faults import Fault, Faults
from asyncbatch.testing.freezing import Process
from asyncbatch.testing.jobs import MemoryBatch, MemoryJob
from asyncbatch.testing.services import MemoryS3, MemoryStacks
from asyncbatch.testing.slots import Processor

URL: Final = "http://memory.invalid"
"""The endpoint in settings; requests never reach a network."""

_SQS_OPERATIONS: Final = (
    "ChangeMessageVisibilityBatch",
    "CreateQueue",
    "DeleteMessageBatch",
    "DeleteQueue",
    "GetQueueAttributes",
    "ListQueueTags",
    "ListQueues",
    "ReceiveMessage",
    "SendMessageBatch",
)


class MemoryAws:
    """S3, SQS and Batch in memory, in one event loop.

    Parameters
    ----------
    slots : int
        Number of tiles that a worker computes concurrently.
    duration : float or callable
        Seconds that each tile takes on the event loop's clock, in addition to its function's time; or a function that
        returns them for each tile.
    latency : float or mapping
        Seconds that each request takes, or a mapping by service or operation: ``{"sqs": 0.012, "s3:PutObject": 0.03}``.
    start_delay : float
        Seconds from the submission of a job to its worker's start.
    faults : iterable of Fault
        Faults to inject.

    Notes
    -----
    Tiles are computed in this process, one at a time, so a function's output, changes to the environment and signals
    affect this process. The models of services are those of the embedded endpoint. A request that takes longer than
    its client's timeout fails as in botocore; botocore's own retries are not emulated.
    """

    def __init__(
        self,
        *,
        slots: int = 1,
        duration: float | Callable[[], float] = 0.0,
        latency: float | Mapping[str, float] = 0.0,
        start_delay: float = 0.0,
        faults: Iterable[Fault] = (),
    ) -> None:
        self._services = Services(operations={}, faults=Faults(faults), latency=latency)
        self._mains: list[MemorySession] = []
        self._main = Process()
        self._shelf = Shelf(f"{URL}/{ACCOUNT}", "memory", _tell_time)
        self._s3 = MemoryS3(_tell_time)
        processor = Processor(
            faults=self._services.faults, duration=duration if callable(duration) else lambda: duration
        )
        self._batch = MemoryBatch(self._services, processor, slots=slots, start_delay=start_delay)
        sqs = Sqs(self._shelf, _tell_time)
        self._services.operations.update(
            {
                **{f"sqs:{name}": partial(sqs.call, name) for name in _SQS_OPERATIONS},
                **self._s3.operations(),
                **self._batch.operations(),
                **MemoryStacks(self._shelf).operations(),
            }
        )

    @asynccontextmanager
    async def running(self, settings: Settings) -> AsyncIterator[Settings]:
        """Run jobs in this event loop during the block, and yield settings for runs on this account.

        Remaining workers are killed at the end of the block.
        """
        chosen = replace(settings, endpoint_url=URL)
        if self._batch.group is not None:
            yield chosen
            return
        loop = asyncio.get_running_loop()
        if isinstance(loop, VirtualLoop):
            loop.watch_threads()
        self._batch.group = group = await anyio.create_task_group().__aenter__()
        try:
            yield chosen
        finally:
            self._batch.group = None
            for job in self.jobs:
                job.kill()
            await group.__aexit__(None, None, None)  # so that the block's exception is not wrapped in a group

    @asynccontextmanager
    async def open_session(
        self, *, region: str, endpoint_url: str | None, credentials: Credentials | None = None, outage: float = OUTAGE
    ) -> AsyncIterator[AwsSession]:
        """Open main's session, as `asyncbatch.aws.session.open_session` does."""
        del credentials  # not needed
        if self._main.ended:  # by `kill_main`
            self._main = Process()
        self._main.begin()
        main = MemorySession(self._services)
        self._mains.append(main)
        async with main.open(region=region, endpoint_url=endpoint_url, outage=outage) as session:
            yield session

    def kill_main(self) -> None:
        """Emulate killing main's process, even a stopped one: its next request raises `ProcessKilled`."""
        for main in self._mains:
            main.kill()
        self._main.ended = True
        if self._main.frozen:
            self._main.thaw(asyncio.get_running_loop())

    def freeze_main(self, seconds: float) -> None:
        """Stop main for some time, like a laptop that sleeps. Only in virtual time.

        This stops the task that opened the run, and everything it has started since.

        Raises
        ------
        TypeError
            In an event loop with real time.
        """
        main, loop = self._main, asyncio.get_running_loop()
        freeze(main)
        loop.call_later(seconds, main.thaw, loop, context=Context())

    def fail(self, *faults: Fault) -> None:
        """Inject more faults; their requests count from now."""
        self._services.faults.add(*faults)

    def recover(self, *faults: Fault) -> None:
        """Remove some faults; by default all."""
        if faults:
            self._services.faults.remove(*faults)
        else:
            self._services.faults.clear()

    def delete_queue(self, name: str) -> None:
        """Delete a queue while it is in use."""
        delete, _ = self._shelf.operations()["DeleteQueue"]
        delete({"QueueUrl": name})

    def delete_objects(self, part: str) -> None:
        """Delete the objects whose keys contain `part` while they are in use."""
        for key in self.keys:
            if part in key:
                self._s3.bucket.delete(key)

    def send(self, queue: str, text: str) -> None:
        """Send a message to a queue, as anyone with permission could."""
        held = self._shelf.find({"QueueUrl": queue})
        held.queue.send(_tell_time(), text)
        held.waiters.serve()

    @property
    def requests(self) -> Counter[str]:
        """Number of requests, by ``service:Operation``."""
        return self._services.requests

    @property
    def jobs(self) -> list[MemoryJob]:
        """All workers ever submitted, in order."""
        return list(self._batch.jobs)

    @property
    def keys(self) -> list[str]:
        """The keys of the bucket's objects, in order."""
        found: list[str] = []
        page = self._s3.bucket.list_keys()
        while True:
            found += page.keys
            if page.after is None:
                return found
            page = self._s3.bucket.list_keys(after=page.after)

    @property
    def queues(self) -> list[str]:
        """The names of the queues, in order, without the stacks' own."""
        return [name for name in self._shelf.names() if not name.endswith(("-BatchInQueue", "-BatchOutQueue"))]


def _tell_time() -> float:
    """Return the event loop's time; with sniffio, anyio does not know the loop in callbacks."""
    return asyncio.get_running_loop().time()

"""A run with queues and a bucket in memory, whose answers can be scripted."""

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final, cast

import anyio

from asyncbatch import Settings
from asyncbatch.aws.protocols import BlobInfo, Content, Received
from asyncbatch.aws.retries import RetryPolicy
from asyncbatch.errors import BlobMissing, QueueGone
from asyncbatch.main.ledger import Ledger
from asyncbatch.main.pacer import Pacer
from asyncbatch.main.run import Run
from asyncbatch.main.supervisor import Supervisor
from asyncbatch.wire.manifest import Manifest
from asyncbatch.wire.messages import Direction, Message, seal

TASKS: Final = "https://queue/task"
RESULTS: Final = "https://queue/result"

Script = list[Callable[[], Coroutine[Any, Any, None]]]


async def hang() -> None:
    """Wait forever."""
    await anyio.sleep_forever()


def make_pacer() -> Pacer:
    """Return a pacer without tiles and workers, so that items do not linger."""
    return Pacer(ledger=Ledger(), supervisor=Supervisor(wanted=1, start_timeout=600.0), limit=None)


@dataclass(kw_only=True)
class FakeQueues:
    """Two queues without leases: received messages are hidden until they are deleted or made visible."""

    receives: Script = field(default_factory=list)
    """Actions before the next requests for messages are answered, one for each request."""
    waiting: dict[str, list[Received]] = field(default_factory=lambda: {TASKS: [], RESULTS: []})
    hidden: dict[str, tuple[str, Received]] = field(default_factory=dict)
    gone: bool = False
    """Whether `count` fails because the queues do not exist."""
    _handles: Any = field(default_factory=count)

    async def send(self, queue: str, texts: Sequence[str]) -> None:
        for text in texts:
            self.waiting[queue].append(Received(text=text, handle=str(next(self._handles)), deliveries=0))

    async def receive(self, queue: str, *, most: int, wait: float, lease: float) -> list[Received]:  # noqa: ARG002
        if self.receives:
            await self.receives.pop(0)()
        with anyio.move_on_after(wait):
            while not self.waiting[queue]:  # noqa: ASYNC110 - in virtual time
                await anyio.sleep(0.5)
        found = []
        for message in self.waiting[queue][:most]:
            handle = str(next(self._handles))
            received = Received(text=message.text, handle=handle, deliveries=message.deliveries + 1)
            self.hidden[handle] = (queue, received)
            found.append(received)
        del self.waiting[queue][: len(found)]
        return found

    async def extend(self, queue: str, handles: Sequence[str], seconds: float) -> list[str]:
        assert seconds == 0
        self.waiting[queue] += [self.hidden.pop(handle)[1] for handle in handles]
        return []

    async def remove(self, queue: str, handles: Sequence[str]) -> None:
        for handle in handles:
            assert self.hidden.pop(handle)[0] == queue

    async def count(self, queue: str) -> int:
        if self.gone:
            raise QueueGone(queue)
        return len(self.waiting[queue]) + sum(name == queue for name, _ in self.hidden.values())


@dataclass(kw_only=True)
class FakeObjects:
    """A bucket."""

    stored: dict[str, bytes] = field(default_factory=dict)
    checksums: dict[str, str | None] = field(default_factory=dict)
    puts: list[str] = field(default_factory=list)
    gets: list[str] = field(default_factory=list)
    before_put: Script = field(default_factory=list)
    before_get: Script = field(default_factory=list)
    bucket: str = "bucket"

    async def put(self, key: str, content: Content, *, sha256: str | None = None) -> None:
        self.puts.append(key)
        if self.before_put:
            await self.before_put.pop(0)()
        self.stored[key], self.checksums[key] = bytes(content), sha256

    async def get(self, key: str, *, sha256: str | None = None, size: int | None = None) -> bytes:  # noqa: ARG002
        self.gets.append(key)
        if self.before_get:
            await self.before_get.pop(0)()
        if key not in self.stored:
            raise BlobMissing(key)
        return self.stored[key]

    async def describe(self, key: str) -> BlobInfo | None:
        if key not in self.stored:
            return None
        return BlobInfo(age=0.0, size=len(self.stored[key]), sha256=self.checksums[key])

    async def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            self.stored.pop(key, None)


@dataclass(kw_only=True)
class FakeRun:
    """A `Run` in memory."""

    queues: FakeQueues = field(default_factory=FakeQueues)
    objects: FakeObjects = field(default_factory=FakeObjects)
    settings: Settings = field(default_factory=Settings)
    retry_policy: RetryPolicy = field(default_factory=RetryPolicy)

    @property
    def manifest(self) -> Manifest:
        return Manifest(
            run="20260101-000000-00000000",
            task_queue=TASKS,
            result_queue=RESULTS,
            token=bytes(32),
            salt=bytes(32),
            versions={},
            lease=self.settings.lease,
            run_lease=self.settings.run_lease,
            idle_timeout=self.settings.idle_timeout,
            max_attempts=self.settings.max_attempts,
            slot_memory=0,
        )

    def open(self) -> Run:
        return Run(
            settings=self.settings,
            outputs=cast("Any", None),
            manifest=self.manifest,
            assignment=cast("Any", None),
            objects=self.objects,
            sender=self.queues,
            receiver=self.queues,
            retry_policy=self.retry_policy,
        )

    def sealed(self, message: Message, direction: Direction = "result") -> str:
        return seal(message, run=self.manifest.run, direction=direction, key=self.manifest.key)

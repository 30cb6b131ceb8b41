"""Protocols for AWS, one for each capability. Consumers combine those that they use."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

Content = bytes | bytearray
"""Content of an object; the receiver owns it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A received message."""

    text: str
    handle: str
    """Receipt handle of this delivery, for extending its lease and deleting it."""
    deliveries: int
    """Number of deliveries of this message, including this one; from 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobAge:
    """Age of an object in seconds, by S3's clock, so that no machine's clock matters."""

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobInfo:
    """Metadata of an object."""

    age: float
    """Seconds since the last write, by S3's clock."""
    size: int
    """Size in bytes."""
    sha256: str | None
    """Hash in hexadecimal; None if it was stored without one."""


class PutBlob(Protocol):
    """Can store an object."""

    async def put(self, key: str, content: Content, *, sha256: str | None = None) -> None:
        """Store `content` under `key`, replacing an existing object; S3 verifies and stores `sha256` if passed."""


class GetBlob(Protocol):
    """Can fetch an object."""

    async def get(self, key: str, *, sha256: str | None = None, size: int | None = None) -> Content:
        """Return the object under `key`; verify its `sha256` and `size` (bytes) if they are passed."""


class MoveContents(Protocol):
    """Transfers the contents of a bucket's objects; each call is one attempt."""

    async def put(self, key: str, content: Content, *, sha256: str | None) -> None:
        """Store an object."""

    async def get(self, key: str, *, sha256: str | None, size: int | None) -> bytearray:
        """Return an object; verify its `sha256` and `size` (bytes) if they are not None."""


class AgeOfBlob(Protocol):
    """Can return an object's age."""

    async def age(self, key: str) -> BlobAge | None:
        """Return the age of the object under `key`, or None if there is none."""


class DescribeBlob(Protocol):
    """Can return an object's metadata."""

    async def describe(self, key: str) -> BlobInfo | None:
        """Return the metadata of the object under `key`, or None if there is none."""


class DeleteBlobs(Protocol):
    """Can delete objects."""

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete the objects under `keys`; missing objects are ignored."""


class SendMessages(Protocol):
    """Can send to queues."""

    async def send(self, queue: str, texts: Sequence[str]) -> None:
        """Send up to ten messages with a total size of at most 1 MiB."""


class ReceiveMessages(Protocol):
    """Can receive from queues."""

    async def receive(self, queue: str, *, most: int, wait: float, lease: float) -> list[Received]:
        """Return up to `most` messages (at most 10); wait up to `wait` seconds (at most 20) for the first."""


class KeepMessages(Protocol):
    """Can extend, nack and ack received messages."""

    async def extend(self, queue: str, handles: Sequence[str], seconds: float) -> list[str]:
        """Set the leases of up to ten messages to end in `seconds`, 0 to nack them; return stale handles."""

    async def remove(self, queue: str, handles: Sequence[str]) -> None:
        """Ack up to ten messages: delete them."""


class CountMessages(Protocol):
    """Can count the messages of a queue."""

    async def count(self, queue: str) -> int:
        """Return the approximate number of messages in a queue, including received messages that are not deleted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The state of a Batch job, or of one child of an array job."""

    id: str
    status: str
    reason: str = ""
    exit_code: int | None = None
    log_streams: tuple[str, ...] = ()
    """Its log streams: one for each of Batch's attempts, the newest last."""
    attempt: int = 1
    """Number of Batch's current or last attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArraySummary:
    """A summary of an array job's children."""

    size: int
    states: Mapping[str, int]
    """Number of children in each state; empty until Batch has counted them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDefinition:
    """A job definition."""

    name: str
    revision: int
    image: str
    vcpus: float
    memory: int
    """Memory in MiB."""
    public_address: bool = False
    """Whether a job on Fargate gets a public address; on instances the subnet decides."""

    @property
    def slots(self) -> int:
        """Number of tiles that a worker computes at one time: one for each whole vCPU."""
        return max(1, int(self.vcpus))


class RunJobs(Protocol):
    """Can submit, describe and terminate Batch jobs."""

    async def submit(
        self,
        *,
        name: str,
        queue: str,
        definition: str,
        size: int,
        environment: Mapping[str, str],
        tags: Mapping[str, str],
    ) -> str:
        """Submit a job, or an array job if `size` is above 1, and return its id."""

    async def describe(self, ids: Sequence[str]) -> list[Job]:
        """Describe jobs; children of a new array may not be listed yet."""

    async def summarise(self, arrays: Sequence[str]) -> dict[str, ArraySummary]:
        """Summarize the states of arrays' children, by array id; a new array may be missing."""

    async def list_named(self, queue: str, name: str) -> list[str]:
        """Return the ids of a queue's jobs with a name, oldest first; for arrays, the array's id."""

    async def count_others(self, queue: str, name: str) -> int:
        """Count jobs of a queue that are starting or running and have another name; each child counts."""

    async def terminate(self, job: str, reason: str) -> None:
        """Terminate a job and its children; a job that has ended is ignored."""

    async def find_definition(self, definition: str) -> JobDefinition:
        """Return the newest active revision of a job definition, given its name or ARN."""


class ExplainWaiting(Protocol):
    """Can explain why jobs do not start."""

    async def explain_blocked(self, definition: JobDefinition) -> str:
        """Return why Batch can never start a job of a definition; empty if it can."""

    async def explain_waiting(self, definition: JobDefinition) -> str:
        """Return the known reasons why jobs of a definition do not start; empty if there are none."""


class TailLogs(Protocol):
    """Can read the end of a log stream."""

    async def tail(self, stream: str, lines: int) -> list[str]:
        """Return the last lines of a stream; empty if it does not exist or can't be read."""

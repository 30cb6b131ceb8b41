"""What the rest of the code needs of AWS, one capability a protocol. Consumers intersect what they use."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

Content = bytes | bytearray
"""What an object holds: whoever gets it has it alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A message as it came from a queue."""

    text: str
    handle: str
    """Stands for this delivery: needed to extend its lease, and to delete it."""
    deliveries: int
    """How often the queue has handed out this message, this time included; from 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobAge:
    """How long ago an object was written, in seconds by S3's own clock, so that no machine's clock matters."""

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobInfo:
    """What S3 knows of an object."""

    age: float
    """Seconds since it was written, by S3's own clock."""
    size: int
    """In bytes."""
    sha256: str | None
    """In hexadecimal; None where it was written without."""


class PutBlob(Protocol):
    """Can store an object."""

    async def put(self, key: str, content: bytes, *, sha256: str | None = None) -> None:
        """Store `content` under `key`, over whatever was there; S3 checks and keeps `sha256` if it is given."""


class GetBlob(Protocol):
    """Can fetch an object."""

    async def get(self, key: str, *, sha256: str | None = None, size: int | None = None) -> Content:
        """Return the object under `key`; `sha256` and `size` (bytes) say what it must be."""


class MoveContents(Protocol):
    """Moves the contents of a bucket's objects; each call is one attempt."""

    async def put(self, key: str, content: bytes, *, sha256: str | None) -> None:
        """Store an object."""

    async def get(self, key: str, *, sha256: str | None, size: int | None) -> bytearray:
        """Return an object; `sha256` and `size` (bytes) say what it must be."""


class AgeOfBlob(Protocol):
    """Can tell an object's age."""

    async def age(self, key: str) -> BlobAge | None:
        """Return the age of the object under `key`, or None if there is none."""


class DescribeBlob(Protocol):
    """Can tell what S3 knows of an object."""

    async def describe(self, key: str) -> BlobInfo | None:
        """Return what S3 knows of the object under `key`, or None if there is none."""


class DeleteBlobs(Protocol):
    """Can delete objects."""

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete the objects under `keys`; absent ones do not matter."""


class SendMessages(Protocol):
    """Can send to queues."""

    async def send(self, queue: str, texts: Sequence[str]) -> None:
        """Send up to ten messages of together at most 1 MiB."""


class ReceiveMessages(Protocol):
    """Can receive from queues."""

    async def receive(self, queue: str, *, most: int, wait: float, lease: float) -> list[Received]:
        """Return up to `most` messages (10 at most), waiting up to `wait` seconds (20 at most) for the first."""


class KeepMessages(Protocol):
    """Can renew, give back and delete received messages."""

    async def extend(self, queue: str, handles: Sequence[str], seconds: float) -> list[str]:
        """Let the leases of up to ten messages end `seconds` from now; return the handles that were stale."""

    async def remove(self, queue: str, handles: Sequence[str]) -> None:
        """Delete up to ten messages."""


class CountMessages(Protocol):
    """Can count the messages of a queue."""

    async def count(self, queue: str) -> int:
        """Return about how many messages a queue holds, received but not deleted ones included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What AWS Batch says of one job, or of one child of an array job."""

    id: str
    status: str
    reason: str = ""
    exit_code: int | None = None
    log_streams: tuple[str, ...] = ()
    """Where it wrote: one for each of Batch's own attempts at it, the newest last."""
    attempt: int = 1
    """Which of Batch's own attempts is under way, or was the last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArraySummary:
    """What AWS Batch says of an array job as a whole."""

    size: int
    states: Mapping[str, int]
    """How many of its children are in each state; empty while Batch has not counted them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDefinition:
    """How a job runs."""

    name: str
    revision: int
    image: str
    vcpus: float
    memory: int
    """In MiB."""
    public_address: bool = False
    """Whether a job on Fargate gets a public address; on instances the subnet says."""

    @property
    def slots(self) -> int:
        """Tiles that a worker computes at one time: one on each whole vCPU."""
        return max(1, int(self.vcpus))


class RunJobs(Protocol):
    """Can submit, watch and end Batch jobs."""

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
        """Submit one job, an array of `size` if that is more than one, and return its id."""

    async def describe(self, ids: Sequence[str]) -> list[Job]:
        """Return the states of jobs; children of a new array are not listed yet."""

    async def summarise(self, arrays: Sequence[str]) -> dict[str, ArraySummary]:
        """Return in which states the children of arrays are, by the arrays' ids; a new array may be missing."""

    async def named(self, queue: str, name: str) -> list[str]:
        """Return the ids of a queue's jobs of a name, the oldest first; of arrays, their own."""

    async def count_others(self, queue: str, name: str) -> int:
        """Return how many jobs of a queue run or start that are not called `name`; children count one by one."""

    async def terminate(self, job: str, reason: str) -> None:
        """End a job and all its children; one that has ended does not matter."""

    async def definition(self, definition: str) -> JobDefinition:
        """Return the newest active revision of a job definition, by its name or ARN."""


class ExplainWaiting(Protocol):
    """Can say why jobs do not start."""

    async def explain_blocked(self, definition: JobDefinition) -> str:
        """Return why Batch itself can start no job of a definition; empty if it can."""

    async def explain_waiting(self, definition: JobDefinition) -> str:
        """Return all that is known to speak against jobs of a definition starting; empty if nothing does."""


class TailLogs(Protocol):
    """Can read the end of a log stream."""

    async def tail(self, stream: str, lines: int) -> list[str]:
        """Return the last lines of a stream; none where it is not there, or may not be read."""

"""Tests that a worker writes nothing for a run that is over."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import anyio
import pytest

from asyncbatch.aws.protocols import BlobAge, Content
from asyncbatch.errors import AwsError, QueueGone
from asyncbatch.testing import VIRTUAL
from asyncbatch.wire.manifest import alive_key
from asyncbatch.worker.presence import Presence, RunBlobs
from tests.unit.worker.runs import MANIFEST

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", [VIRTUAL], ids=["virtual"])]


@dataclass
class Bucket:
    """The bucket with main's heartbeat, whose age is None if it is deleted.

    An attempt to store an object fails for each later age, which is that at the next attempt.
    """

    heartbeat_age: float | AwsError | None = 0.0
    asked: int = 0
    later_ages: list[float | None] = field(default_factory=list)
    stored: dict[str, bytes] = field(default_factory=dict)
    pause: float = MANIFEST.lease
    """Seconds between two attempts."""

    async def age(self, key: str) -> BlobAge | None:
        assert key == alive_key("run")
        self.asked += 1
        if isinstance(self.heartbeat_age, AwsError):
            raise self.heartbeat_age
        return None if self.heartbeat_age is None else BlobAge(seconds=self.heartbeat_age)

    async def put(
        self, key: str, content: Content, *, sha256: str | None = None, check: Callable[[], Awaitable[None]]
    ) -> None:
        assert sha256 is None
        await check()
        for age in self.later_ages:
            await anyio.sleep(self.pause)
            self.heartbeat_age = age
            await check()
        self.stored[key] = bytes(content)

    async def get(self, key: str, *, sha256: str | None = None, size: int | None = None) -> bytes:
        assert (sha256, size) == (None, None)
        return self.stored[key]


def make_blobs(bucket: Bucket) -> RunBlobs:
    return RunBlobs(blobs=bucket, presence=Presence(manifest=MANIFEST, blobs=bucket))


@pytest.mark.parametrize("age", [None, MANIFEST.run_lease + 1])
async def test_nothing_is_written_for_a_run_that_is_over(age: float | None) -> None:
    bucket = Bucket(heartbeat_age=age)
    with pytest.raises(QueueGone):
        await make_blobs(bucket).put("key", b"content")
    assert bucket.stored == {}


@pytest.mark.parametrize("pause", [0.1, MANIFEST.lease])
async def test_nothing_is_written_if_the_run_ends_before_another_attempt(pause: float) -> None:
    bucket = Bucket(later_ages=[0.0, None], pause=pause)
    with pytest.raises(QueueGone):
        await make_blobs(bucket).put("key", b"content")
    assert bucket.stored == {}


@pytest.mark.parametrize("age", [0.0, AwsError("no answer")])
async def test_writes_are_allowed_unless_the_run_is_known_to_be_over(age: float | AwsError) -> None:
    bucket = Bucket(heartbeat_age=age)
    await make_blobs(bucket).put("key", b"content")
    assert await make_blobs(bucket).get("key") == b"content"


async def test_recently_seen_run_is_not_checked() -> None:
    bucket = Bucket(heartbeat_age=None)
    blobs = make_blobs(bucket)
    blobs.presence.note(anyio.current_time())
    await blobs.put("key", b"content")
    assert bucket.asked == 0


async def test_run_is_checked_after_a_while_or_if_it_may_be_over() -> None:
    bucket = Bucket()
    blobs = make_blobs(bucket)
    for _ in range(2):
        await blobs.put("key", b"content")
    assert bucket.asked == 1
    await anyio.sleep(MANIFEST.lease)
    await blobs.put("key", b"content")
    assert bucket.asked == 2
    blobs.presence.doubt()
    await blobs.put("key", b"content")
    assert bucket.asked == 3


async def test_answer_requested_before_a_doubt_does_not_resolve_it() -> None:
    bucket = Bucket(heartbeat_age=None)
    blobs = make_blobs(bucket)
    asked = anyio.current_time()
    await anyio.sleep(1.0)
    blobs.presence.doubt()
    blobs.presence.note(asked)
    with pytest.raises(QueueGone):
        await blobs.put("key", b"content")


async def test_answer_is_valid_for_the_time_of_its_request() -> None:
    bucket = Bucket(heartbeat_age=None)
    blobs = make_blobs(bucket)
    asked = anyio.current_time()
    await anyio.sleep(MANIFEST.lease)  # the process was stopped in the meantime
    blobs.presence.note(asked)
    with pytest.raises(QueueGone):
        await blobs.put("key", b"content")

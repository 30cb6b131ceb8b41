from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import anyio
import pytest

from asyncbatch.aws.bodies import Bodies
from asyncbatch.aws.protocols import Content
from asyncbatch.errors import BlobMissing
from asyncbatch.testing import VIRTUAL
from asyncbatch.wire.messages import Body

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return VIRTUAL


@dataclass
class Bucket:
    """Objects that take a second to fetch."""

    objects: dict[str, bytes] = field(default_factory=dict)
    gets: list[str] = field(default_factory=list)

    async def get(self, key: str, *, sha256: str | None = None, size: int | None = None) -> bytearray:
        self.gets.append(key)
        await anyio.sleep(1.0)
        content = self.objects.get(key)
        if content is None:
            raise BlobMissing(key)
        assert (sha256, size) == (hash_of(content), len(content))
        return bytearray(content)

    def put(self, *contents: bytes, key: str) -> list[Body]:
        content, bodies = Body.of_parts(contents, key=key)
        self.objects[key] = bytes(content)
        return bodies


def hash_of(content: bytes) -> str:
    return sha256(content).hexdigest()


async def fetch_all(bodies: Bodies, described: Sequence[Body]) -> list[Content | Exception]:
    """Fetch bodies at the same time, and return their contents or errors."""
    found: dict[int, Content | Exception] = {}

    async def fetch(place: int) -> None:
        try:
            found[place] = await bodies.fetch(described[place])
        except BlobMissing as error:
            found[place] = error

    async with anyio.create_task_group() as group:
        for place in range(len(described)):
            group.start_soon(fetch, place)
    return [found[place] for place in range(len(described))]


async def test_inline_body_needs_no_request() -> None:
    bucket = Bucket()
    assert await Bodies(blobs=bucket).fetch(Body.of(b"inline", key="")) == b"inline"
    assert await Bodies(blobs=bucket).fetch(Body.of(b"", key="")) == b""
    assert not bucket.gets


async def test_object_with_one_body_is_the_body() -> None:
    bucket = Bucket()
    (body,) = bucket.put(b"alone", key="k")
    assert body == Body.of(b"alone", key="k", limit=0)
    assert await Bodies(blobs=bucket).fetch(body) == b"alone"


async def test_object_is_fetched_once_for_all_bodies_needed_at_the_same_time() -> None:
    bucket, contents = Bucket(), [b"one", b"", b"three", b"one"]
    bodies, described = Bodies(blobs=bucket), bucket.put(*contents, key="k")
    for times in (1, 2):
        assert await fetch_all(bodies, described) == contents
        assert bucket.gets == ["k"] * times, "its content is not kept"


async def test_caller_owns_the_content_of_a_body() -> None:
    bucket = Bucket()
    described = bucket.put(b"one", b"two", key="k")
    first, second = await fetch_all(Bodies(blobs=bucket), described)
    assert isinstance(first, bytearray)
    first += b"!"
    assert [first, second] == [b"one!", b"two"]


async def test_each_body_of_a_missing_object_is_missing() -> None:
    bucket = Bucket()
    described = bucket.put(b"one", b"two", key="k")
    bucket.objects.clear()
    found = await fetch_all(Bodies(blobs=bucket), described)
    assert [type(error) for error in found] == [BlobMissing, BlobMissing]


async def test_cancelled_fetch_does_not_affect_others() -> None:
    bucket = Bucket()
    bodies, described = Bodies(blobs=bucket), bucket.put(b"one", b"two", key="k")
    found: list[Content] = []

    async def fetch(body: Body, seconds: float) -> None:
        with anyio.move_on_after(seconds):
            found.append(await bodies.fetch(body))

    async with anyio.create_task_group() as group:
        group.start_soon(fetch, described[0], 0.5)
        await anyio.wait_all_tasks_blocked()
        group.start_soon(fetch, described[1], 60)
    assert found == [b"two"]


async def test_number_of_concurrent_requests_is_limited() -> None:
    bucket = Bucket()
    described = [body for number in range(4) for body in bucket.put(b"one", b"two", key=str(number))]
    began = anyio.current_time()
    await fetch_all(Bodies(blobs=bucket, most=2), described)
    assert anyio.current_time() - began == pytest.approx(2.0)

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from asyncbatch.errors import AwsError
from asyncbatch.main.garbage import Garbage
from asyncbatch.testing import VIRTUAL

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return VIRTUAL


@dataclass
class Bucket:
    deleted: list[list[str]] = field(default_factory=list)
    failures: list[AwsError] = field(default_factory=list)

    async def delete(self, keys: Sequence[str]) -> None:
        await anyio.lowlevel.checkpoint()
        if self.failures:
            raise self.failures.pop()
        self.deleted.append(list(keys))


async def delete(garbage: Garbage, seconds: float = 60.0) -> None:
    """Delete objects for some time."""
    with anyio.move_on_after(seconds):
        await garbage.run()


async def test_objects_are_deleted_together() -> None:
    bucket = Bucket()
    garbage = Garbage(bucket)
    garbage.discard(0, "in/0", None)
    garbage.discard(1, "in/1", "out/1")
    await delete(garbage)
    assert bucket.deleted == [["in/0", "in/1", "out/1"]]


async def test_shared_object_is_deleted_when_no_tile_needs_it() -> None:
    bucket = Bucket()
    garbage = Garbage(bucket)
    garbage.share("in/0", [0, 1, 2])
    for tile in (0, 0, 2, 2):  # a tile that is cancelled while it is sent discards its payload more than once
        garbage.discard(tile, "in/0")
    await delete(garbage)
    assert not bucket.deleted
    garbage.discard(1, "in/0")
    await delete(garbage)
    assert bucket.deleted == [["in/0"]]


async def test_results_that_are_delivered_again_share_their_object_again() -> None:
    bucket = Bucket()
    garbage = Garbage(bucket)
    garbage.share("out/0", [0, 1])
    garbage.discard(0, "out/0")
    garbage.share("out/0", [0, 1])
    garbage.discard(1, "out/0")
    await delete(garbage)
    assert not bucket.deleted
    garbage.discard(0, "out/0")
    await delete(garbage)
    assert bucket.deleted == [["out/0"]]


async def test_failed_deletion_does_not_end_the_run() -> None:
    bucket = Bucket(failures=[AwsError("denied")])
    garbage = Garbage(bucket)
    garbage.discard(0, "in/0")
    await delete(garbage)
    garbage.discard(1, "in/1")
    await delete(garbage)
    assert bucket.deleted == [["in/1"]]

import errno
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from asyncbatch.errors import BlobCorrupt, BlobMissing
from asyncbatch.wire.manifest import program_key
from asyncbatch.worker.programs import ProgramNotStoredError, Programs, ProgramUnusableError

pytestmark = pytest.mark.anyio

KEPT = 16


class Bucket:
    def __init__(self) -> None:
        self.fetched: list[str] = []
        self.failure: Exception | None = None

    async def get(self, key: str, *, sha256: str | None = None, size: int | None = None) -> bytes:
        await anyio.lowlevel.checkpoint()
        assert sha256 == key.rpartition("/")[2]
        assert size == len(key)
        self.fetched.append(key)
        if self.failure is not None:
            raise self.failure
        return key.encode()


def files(folder: Path) -> int:
    return len(list(folder.iterdir()))


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()


@pytest.fixture
def programs(bucket: Bucket, tmp_path: Path) -> Programs:
    return Programs(blobs=bucket, folder=tmp_path)


async def use(programs: Programs, digest: str) -> str:
    async with programs.open(digest, len(program_key(digest))) as path:
        return path.read_text()


async def test_each_program_is_fetched_once(programs: Programs, bucket: Bucket) -> None:
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(use, programs, "a")
    assert await use(programs, "a") == program_key("a")
    assert len(bucket.fetched) == 1


async def test_programs_in_use_are_never_removed(programs: Programs, tmp_path: Path) -> None:
    digests = [f"{place:02}" for place in range(4 * KEPT)]
    async with AsyncExitStack() as stack:
        paths = [await stack.enter_async_context(programs.open(d, len(program_key(d)))) for d in digests]
        assert [path.read_text() for path in paths] == [program_key(digest) for digest in digests]
    assert files(tmp_path) == KEPT


async def test_least_recently_used_programs_are_removed_first(programs: Programs, bucket: Bucket) -> None:
    digests = [f"{place:02}" for place in range(KEPT)]
    for digest in [*digests, digests[0], "new"]:
        await use(programs, digest)
    bucket.fetched.clear()
    await use(programs, digests[0])
    assert not bucket.fetched
    await use(programs, digests[1])
    assert len(bucket.fetched) == 1


@pytest.mark.parametrize("failure", [BlobMissing("gone"), BlobCorrupt("damaged")])
async def test_damaged_program_is_detected_and_fetched_again(
    programs: Programs, bucket: Bucket, failure: Exception
) -> None:
    bucket.failure = failure
    with pytest.raises(ProgramUnusableError):
        await use(programs, "a")
    bucket.failure = None
    assert await use(programs, "a") == program_key("a")


async def test_full_disk_leaves_no_incomplete_file(
    programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(self: Path, content: bytes) -> int:
        self.touch()
        raise OSError(errno.ENOSPC, f"no space for {len(content)} bytes")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", write)
        with pytest.raises(ProgramNotStoredError, match="no space"):
            await use(programs, "a")
    assert files(tmp_path) == 0
    assert await use(programs, "a") == program_key("a")

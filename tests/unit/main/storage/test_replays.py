"""Tests of which tiles are stored for a replay, on AWS in memory."""

from pathlib import Path

import numpy as np
import pytest

from asyncbatch import BatchExecutor, Dispatcher, Settings, TileError, TileLost
from asyncbatch.main.storage.failed import list_failed, read_failed
from asyncbatch.testing import Fault, MemoryAws
from asyncbatch.wire.codec import decode


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def fail(content: bytes) -> int:
    if content.startswith(b"bad"):
        raise ValueError(len(content))
    return len(content)


async def compute(aws: MemoryAws, *contents: bytes, **settings: object) -> list[TileError | TileLost]:
    """Compute tiles of these contents and return their errors."""
    async with (
        aws.running(Settings(**settings)) as chosen,  # type: ignore[arg-type]  # as given
        Dispatcher(workers=1, settings=chosen, open_session=aws.open_session) as dispatcher,
    ):
        results = [result async for result in dispatcher.map(fail, contents, on_error="collect")]
    return [result for result in results if isinstance(result, TileError | TileLost)]


@pytest.mark.anyio
@pytest.mark.parametrize("size", [10, 100_000], ids=["inline", "uploaded"])
async def test_failed_tile_is_stored_with_its_payload(size: int) -> None:
    bad = b"bad" + np.random.default_rng(0).bytes(size)
    [error] = await compute(MemoryAws(), b"good", bad)
    *_, run, index = error.replay.split()
    found = read_failed(run, int(index))
    assert decode(found.payload) == ((bad,), {}, None)
    assert found.error == error.reason
    assert [each.tiles for each in list_failed(0.0)] == [[1]]
    assert error.replay in str(error)


@pytest.mark.anyio
async def test_lost_tile_is_stored() -> None:
    aws = MemoryAws(faults=[Fault(operation="slot:Compute", error="SIGKILL", times=None)])
    [error] = await compute(aws, b"good", max_attempts=1)
    assert isinstance(error, TileLost)
    assert error.replay
    assert read_failed(*_split(error.replay)).error == error.reason


@pytest.mark.anyio
async def test_failure_to_store_a_tile_has_no_other_effect(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("no folder")
    [error] = await compute(MemoryAws(), b"bad")
    assert error.replay == ""
    assert error.reason == "ValueError: 3"


def test_pools_in_memory_store_nothing() -> None:
    """They are for users' tests, which must not leave files behind."""
    with BatchExecutor.in_memory() as pool, pytest.raises(TileError):
        pool.submit(fail, b"bad").result()
    assert not list_failed(0.0)


def _split(replay: str) -> tuple[str, int]:
    *_, run, index = replay.split()
    return run, int(index)

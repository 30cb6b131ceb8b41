"""Tests of `map` with `chunksize`, which computes several calls in one tile, on AWS in memory."""

from collections.abc import Iterator

import pytest

from asyncbatch import BatchExecutor, SettingsError, TileError


def invert(number: int) -> float:
    return 1 / number


@pytest.fixture(scope="module")
def pool() -> Iterator[BatchExecutor]:
    with BatchExecutor.in_memory() as pool:
        yield pool


@pytest.mark.parametrize("chunksize", [1, 2, 3, 100])
@pytest.mark.parametrize("buffersize", [None, 1])
def test_results_equal_those_of_the_builtin(pool: BatchExecutor, chunksize: int, buffersize: int | None) -> None:
    found = pool.map(pow, range(10), range(1, 11), chunksize=chunksize, buffersize=buffersize)
    assert list(found) == list(map(pow, range(10), range(1, 11)))


def test_a_chunk_is_one_tile(pool: BatchExecutor) -> None:
    before = pool.status().tiles_done
    assert len(list(pool.map(abs, range(100), chunksize=40))) == 100
    assert pool.status().tiles_done - before == 3


def test_error_applies_to_all_calls_of_its_tile(pool: BatchExecutor) -> None:
    found = list(pool.map(invert, [1, 2, 0, 4], chunksize=2, on_error="collect"))
    assert found[:2] == [1.0, 0.5]
    assert len(found) == 4
    assert all(isinstance(error, TileError) for error in found[2:])
    with pytest.raises(TileError, match="ZeroDivisionError"):
        list(pool.map(invert, [1, 2, 0, 4], chunksize=2))


def test_invalid_chunksize_is_rejected(pool: BatchExecutor) -> None:
    with pytest.raises(ValueError, match="0"):
        pool.map(abs, [1], chunksize=0)
    with pytest.raises(SettingsError, match="abs"):
        pool.map(pool.program(abs), [1], chunksize=2)

"""Tests of `map` with stored results, on AWS in memory."""

import os
from collections.abc import AsyncGenerator, Generator, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest

from asyncbatch import BatchExecutor, Dispatcher, ResumeRefused, SettingsError, TileError
from asyncbatch.main.storage.statefolder import locate_state_folder


@pytest.fixture(autouse=True)
def _counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("NOTES", str(tmp_path / "notes"))
    monkeypatch.setenv("ASYNCBATCH_SPECULATION", "false")  # otherwise tiles could be computed twice on a busy machine
    (tmp_path / "notes").mkdir()


def square(number: int) -> int:
    (Path(os.environ["NOTES"]) / f"{number}-{uuid4()}").touch()
    return number * number


def fail_at_three(number: int) -> int:
    if square(number) == 9:
        raise ValueError(number)
    return number


def pop_computed() -> list[int]:
    """Return the tiles that have been computed since the last call."""
    notes = list(Path(os.environ["NOTES"]).iterdir())
    for note in notes:
        note.unlink()
    return sorted(int(note.name.partition("-")[0]) for note in notes)


def close(results: Iterator[Any]) -> None:
    """Close a map before its end."""
    assert isinstance(results, Generator)
    results.close()


def stored() -> list[str]:
    return sorted(each.name for each in locate_state_folder("results").glob("*"))


def test_stored_results_are_not_recomputed() -> None:
    with BatchExecutor.in_memory() as pool:
        results = pool.map(square, range(6), buffersize=2, resume="squares")
        assert [next(results) for _ in range(3)] == [0, 1, 4]
        close(results)
        assert stored() == ["squares.map"]
        assert {0, 1, 2} <= set(pop_computed())
        assert list(pool.map(square, range(6), resume="squares")) == [0, 1, 4, 9, 16, 25]
        assert 5 in (computed := pop_computed())
        assert computed[0] > 2
    assert not stored(), "all results are read"


def test_result_is_stored_before_it_is_returned() -> None:
    with BatchExecutor.in_memory() as pool:
        results = pool.map(square, range(3), buffersize=1, resume="squares")
        next(results)
        size = (locate_state_folder("results") / "squares.map").stat().st_size
        next(results)
        assert (locate_state_folder("results") / "squares.map").stat().st_size > size
        close(results)


def test_changes_of_a_result_by_the_caller_are_not_stored() -> None:
    def zeros(number: int) -> np.ndarray:
        return np.zeros(3) + number

    with BatchExecutor.in_memory() as pool:
        results = pool.map(zeros, range(2), resume="arrays")
        array = next(results)
        array += 7
        close(results)
        again = list(pool.map(zeros, range(2), resume="arrays"))
        assert [each.tolist() for each in again] == [[0, 0, 0], [1, 1, 1]]
        again[0] += 1  # stored arrays are writable, like those from workers


def test_tiles_whose_arguments_have_changed_are_computed() -> None:
    with BatchExecutor.in_memory() as pool:
        assert list(pool.map(fail_at_three, [0, 1, 3], on_error="collect", resume="some"))[:2] == [0, 1]
        pop_computed()
        assert list(pool.map(fail_at_three, [0, 5, 2, 4], resume="some")) == [0, 5, 2, 4]
        assert pop_computed() == [2, 4, 5]


def test_only_failed_tiles_are_recomputed() -> None:
    with BatchExecutor.in_memory() as pool:
        for computed in ([0, 1, 2, 3, 4], [3]):
            results = list(pool.map(fail_at_three, range(5), resume="some", on_error="collect"))
            assert isinstance(results.pop(3), TileError)
            assert results == [0, 1, 2, 4]
            assert pop_computed() == computed
        with pytest.raises(TileError):
            list(pool.map(fail_at_three, range(5), resume="some"))
        assert pop_computed() == [3]
        assert stored() == ["some.map"]


def draw(_: int) -> str:
    return uuid4().hex


@pytest.mark.anyio
async def test_dispatcher_can_resume() -> None:
    async with Dispatcher.in_memory() as dispatcher:
        results = dispatcher.map(square, range(6), resume="squares")
        assert await anext(results) == 0
        assert isinstance(results, AsyncGenerator)
        await results.aclose()
        pop_computed()
        assert stored() == ["squares.map"]
        assert [value async for value in dispatcher.map(square, range(6), resume="squares")] == [0, 1, 4, 9, 16, 25]
        assert 0 not in pop_computed()
        with pytest.raises(SettingsError):
            await anext(dispatcher.map(dispatcher.program(square), range(6), resume="squares"))
    assert not stored()


def test_equal_arguments_are_separate_tiles() -> None:
    """A function may use random numbers, so one result must not be used for all."""
    with BatchExecutor.in_memory() as pool:
        results = pool.map(draw, [2, 2, 2], buffersize=1, resume="numbers")
        first = next(results)
        close(results)
        again = list(pool.map(draw, [2, 2, 2], resume="numbers"))
        assert again[0] == first
        assert len(set(again)) == 3


def test_chunks_are_resumed() -> None:
    with BatchExecutor.in_memory() as pool:
        results = pool.map(square, range(6), chunksize=2, buffersize=1, resume="squares")
        assert next(results) == 0
        close(results)
        pop_computed()
        assert list(pool.map(square, range(6), chunksize=2, resume="squares")) == [0, 1, 4, 9, 16, 25]
        assert 0 not in pop_computed()


def test_another_function_is_rejected() -> None:
    with BatchExecutor.in_memory() as pool:
        results = pool.map(square, range(3), buffersize=1, resume="squares")
        next(results)
        with pytest.raises(ResumeRefused, match="another process"):
            pool.map(square, range(3), resume="squares")
        close(results)
        with pytest.raises(ResumeRefused, match="another function"):
            pool.map(fail_at_three, range(3), resume="squares")
        with pytest.raises(ResumeRefused, match="another chunksize"):
            pool.map(square, range(3), chunksize=2, resume="squares")


def test_result_that_can_not_be_unpickled_is_recomputed(caplog: pytest.LogCaptureFixture) -> None:
    with BatchExecutor.in_memory() as pool:
        results = pool.map(square, range(3), buffersize=1, resume="squares")
        next(results)
        close(results)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("asyncbatch.main.storage.resumption.decode", _refuse)
            assert list(pool.map(square, range(3), resume="squares")) == [0, 1, 4]
    assert "journal_not_unpickled" in {vars(record).get("action") for record in caplog.records}


def _refuse(_content: bytearray) -> object:
    raise AttributeError("the class does not exist")


def test_resume_key_must_be_a_name() -> None:
    keys: list[Any] = ["", "../x", ".x", "a/b", 1, True, "x" * 101]
    with BatchExecutor.in_memory() as pool:
        for key in keys:
            with pytest.raises(SettingsError):
                pool.map(square, range(3), resume=key)


def test_program_cannot_be_resumed() -> None:
    with BatchExecutor.in_memory() as pool, pytest.raises(SettingsError):
        pool.map(pool.program(square), range(3), resume="squares")


def test_state_folder_that_others_can_write_to_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "state" / "asyncbatch").mkdir(parents=True)
    (tmp_path / "state" / "asyncbatch").chmod(0o777)
    with BatchExecutor.in_memory() as pool, pytest.raises(SettingsError, match="777"):
        pool.map(square, range(3), resume="squares")

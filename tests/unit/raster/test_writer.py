"""Tests that the writer limits the number of results that wait to be written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from asyncbatch.errors import RasterError
from asyncbatch.raster.apply import Prepared, prepare
from asyncbatch.raster.output import OutputFile
from asyncbatch.raster.writer import BEHIND, Writer

Make = Callable[..., Path]


@pytest.fixture
def prepared(make: Make, scene: NDArray[Any], tmp_path: Path) -> Prepared:
    (tmp_path / "out").mkdir()
    return prepare({"image": make("in.tif", scene)}, {"result": tmp_path / "out" / "out.tif"}, window=8)


def test_number_of_waiting_results_is_limited(prepared: Prepared, scene: NDArray[Any]) -> None:
    written: list[int] = []
    plan = prepared.plan
    with Writer(prepared.targets, plan.grid, written.append) as writer:
        for tile, window in enumerate(plan.tiling):
            writer.put(tile, window, (scene[:, : window.rows, : window.columns],))
            assert len(written) >= tile + 1 - BEHIND
        writer.finish()
    assert written == [*range(1, len(plan.tiling) + 1)]


def test_write_error_is_raised_with_the_next_results(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fails(*_arguments: object) -> None:
        raise RasterError("no paper")

    monkeypatch.setattr(OutputFile, "write", fails)
    array = np.zeros((1, 8, 8), np.uint8)
    tiles = iter(enumerate(prepared.plan.tiling))

    def put_all(writer: Writer) -> None:
        for tile, window in tiles:
            writer.put(tile, window, (array,))

    with (
        Writer(prepared.targets, prepared.plan.grid, lambda _written: None) as writer,
        pytest.raises(RasterError, match="no paper"),
    ):
        put_all(writer)
    assert next(tiles)[0] <= BEHIND + 1
    assert list((tmp_path / "out").iterdir()) == []


def test_folder_that_can_not_be_created_is_reported_before_any_work(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(**_arguments: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.mkdtemp", full)
    with (
        pytest.raises(RasterError, match=r"can't write .*out\.tif: No space left on device in "),
        Writer(prepared.targets, prepared.plan.grid, lambda _written: None),
    ):
        pytest.fail("the block must not run")


def test_full_disk_is_reported_when_files_are_synchronised(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch, scene: NDArray[Any], tmp_path: Path
) -> None:
    """Network disks and quotas report this."""

    def full(_descriptor: int) -> None:
        raise OSError(122, "Disk quota exceeded")

    monkeypatch.setattr("os.fsync", full)
    with Writer(prepared.targets, prepared.plan.grid, lambda _written: None) as writer:
        for tile, window in enumerate(prepared.plan.tiling):
            writer.put(tile, window, (scene[:, : window.rows, : window.columns],))
        with pytest.raises(RasterError, match=r"can't write .*out\.tif: Disk quota exceeded \([\d.,]+ MB free in "):
            writer.finish()
    assert list((tmp_path / "out").iterdir()) == []

"""The writer follows close behind the computation, and holds it up rather than fall back."""

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


def test_few_results_wait_to_be_written(prepared: Prepared, scene: NDArray[Any]) -> None:
    written: list[int] = []
    plan = prepared.plan
    with Writer(prepared.targets, plan.grid, written.append) as writer:
        for tile, window in enumerate(plan.tiling):
            writer.put(tile, window, (scene[:, : window.rows, : window.columns],))
            assert len(written) >= tile + 1 - BEHIND
        writer.finish()
    assert written == [*range(1, len(plan.tiling) + 1)]


def test_an_error_in_writing_comes_with_the_next_results(
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


def test_a_folder_that_can_t_be_made_is_reported_before_any_work(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(**_arguments: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.mkdtemp", full)
    with (
        pytest.raises(RasterError, match=r"can't write .*out\.tif: No space left on device in "),
        Writer(prepared.targets, prepared.plan.grid, lambda _written: None),
    ):
        pytest.fail("it was entered")


def test_a_disk_that_is_full_only_when_all_must_be_on_it(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch, scene: NDArray[Any], tmp_path: Path
) -> None:
    """Network disks and quotas answer so."""

    def full(_descriptor: int) -> None:
        raise OSError(122, "Disk quota exceeded")

    monkeypatch.setattr("os.fsync", full)
    with Writer(prepared.targets, prepared.plan.grid, lambda _written: None) as writer:
        for tile, window in enumerate(prepared.plan.tiling):
            writer.put(tile, window, (scene[:, : window.rows, : window.columns],))
        with pytest.raises(RasterError, match=r"can't write .*out\.tif: Disk quota exceeded \([\d.,]+ MB free in "):
            writer.finish()
    assert list((tmp_path / "out").iterdir()) == []

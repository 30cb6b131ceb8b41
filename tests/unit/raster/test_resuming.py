"""Tests of `apply` with stored results, on AWS in memory; integration/test_resume.py kills main."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from asyncbatch import BatchExecutor, RasterError, ResumeRefused, TileError, TilesFailed
from asyncbatch.main.storage.stored import list_stored
from asyncbatch.raster import BlockInfo, Blocks, apply
from tests.unit.raster.conftest import Make, Read


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def source(make: Make) -> Path:
    return make("in.tif", np.arange(100, dtype=np.uint8).reshape(1, 10, 10))


def negate(_info: BlockInfo, inputs: Blocks, outputs: Blocks, other: SimpleNamespace) -> None:
    """Fail if a flag file exists, which is not part of the computation's identity."""
    if inputs.image[0, 0, 0] in other.unlucky and Path(other.flag).exists():
        raise ValueError("unlucky")
    outputs.result = 255 - inputs.image


@pytest.fixture
def other(tmp_path: Path) -> SimpleNamespace:
    """Make the tile at row 5, column 5 fail until the flag is removed."""
    (tmp_path / "flag").touch()
    return SimpleNamespace(unlucky=[55], flag=str(tmp_path / "flag"))


def test_only_failed_tiles_are_computed(
    source: Path, other: SimpleNamespace, tmp_path: Path, read: Read, caplog: pytest.LogCaptureFixture
) -> None:
    inputs, outputs = {"image": source}, {"result": tmp_path / "out.tif"}
    with BatchExecutor.in_memory() as pool:
        with pytest.raises(TilesFailed):
            apply(negate, inputs, outputs, other=other, window=5, executor=pool, on_error="collect", resume=True)
        [stored] = list_stored(0.0)
        assert (stored.path, stored.title, stored.results, stored.in_use) == (
            tmp_path / ".out.tif.resume",
            str(tmp_path / "out.tif"),
            3,
            False,
        )
        with pytest.raises(TileError):
            apply(negate, inputs, outputs, other=other, window=5, executor=pool)
        assert "results_not_resumed" in {vars(record).get("action") for record in caplog.records}
        Path(other.flag).unlink()
        applied = apply(negate, inputs, outputs, other=other, window=5, executor=pool, resume=True)
    assert applied.resumed == 3
    assert (read(tmp_path / "out.tif") == 255 - read(source)).all()
    assert not list_stored(0.0)
    assert not (tmp_path / ".out.tif.resume").exists()


def test_outputs_with_failed_tiles_as_nodata_can_be_resumed(
    source: Path, other: SimpleNamespace, tmp_path: Path, read: Read
) -> None:
    inputs, outputs = {"image": source}, {"result": tmp_path / "out.tif"}
    with BatchExecutor.in_memory() as pool:
        first = apply(
            negate, inputs, outputs, other=other, window=5, executor=pool, on_error="nodata", nodata=0, resume=True
        )
        assert len(first.failures) == 1
        assert not read(tmp_path / "out.tif")[0, 5:, 5:].any()
        Path(other.flag).unlink()
        again = apply(negate, inputs, outputs, other=other, window=5, executor=pool, nodata=0, resume=True)
    assert (again.resumed, again.failures) == (3, [])
    assert (read(tmp_path / "out.tif") == 255 - read(source)).all()


@pytest.mark.parametrize("what", ["other", "window"])
def test_another_computation_of_the_same_output_is_rejected(
    what: str, source: Path, other: SimpleNamespace, tmp_path: Path
) -> None:
    inputs, outputs = {"image": source}, {"result": tmp_path / "out.tif"}
    with BatchExecutor.in_memory() as pool:
        with pytest.raises(TileError):
            apply(negate, inputs, outputs, other=other, window=5, executor=pool, resume=True)
        changed = SimpleNamespace(unlucky=[], flag=other.flag) if what == "other" else other
        window = 4 if what == "window" else 5
        with pytest.raises(ResumeRefused, match=what):
            apply(negate, inputs, outputs, other=changed, window=window, executor=pool, resume=True)
    assert not (tmp_path / "out.tif").exists()


def test_resume_needs_a_pool_and_an_output(source: Path, other: SimpleNamespace, tmp_path: Path) -> None:
    inputs, outputs = {"image": source}, {"result": tmp_path / "out.tif"}
    with ThreadPoolExecutor(1) as threads:
        for executor in (None, threads):
            with pytest.raises(RasterError, match="BatchExecutor"):
                apply(negate, inputs, outputs, other=other, executor=executor, resume=True)
    with BatchExecutor.in_memory() as pool, pytest.raises(RasterError, match="output"):
        apply(negate, inputs, {}, other=other, executor=pool, resume=True)
    assert not list(tmp_path.glob(".*"))

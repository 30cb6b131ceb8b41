"""Tests of rasters with real workers: outputs are identical to those of a serial run."""

import gc
import os
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from osgeo import gdal, gdal_array

from asyncbatch import BatchExecutor, TileError
from asyncbatch.errors import OutputError
from asyncbatch.raster import BlockInfo, Blocks, apply
from asyncbatch.raster.plan import EDGES, Edge


def blur(info: BlockInfo, inputs: Blocks, outputs: Blocks, other: int) -> None:
    image = inputs.image
    around = sum(np.roll(image, shift, (1, 2)) for shift in [(0, 0), (0, 1), (1, 0), (0, -1), (-1, 0)])
    outputs.blurred = (around * other).astype(image.dtype)
    outputs.nodata = np.full((1, *image.shape[1:]), info.getNoDataValueFor(image), image.dtype)


def raise_error(info: BlockInfo, inputs: Blocks, outputs: Blocks) -> None:
    outputs.result = inputs.image
    if info.getBlockCount() == (2, 1):
        raise ValueError("a bad pixel")


def misspell(_info: BlockInfo, _inputs: Blocks, outputs: Blocks) -> None:
    outputs.resutl = 1


def image(folder: Path, dtype: str) -> Path:
    gdal.UseExceptions()
    random = np.random.default_rng(5)
    array = random.integers(0, 50, (2, 70, 90)).astype(dtype)
    if array.dtype.kind == "c":
        array = (array + 1j * random.random(array.shape)).astype(dtype)
    path = folder / "in.tif"
    kind = gdal_array.NumericTypeCodeToGDALTypeCode(array.dtype)
    dataset = gdal.GetDriverByName("GTiff").Create(str(path), 90, 70, 2, kind)
    dataset.GetRasterBand(1).SetNoDataValue(7)
    dataset.WriteArray(array)
    del dataset
    return path


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "complex64"])
def test_outputs_equal_those_of_a_serial_run(dtype: str, pool: BatchExecutor, tmp_path: Path) -> None:
    source = image(tmp_path, dtype)
    for way, executor in (("serial", None), ("workers", pool)):
        outputs = {name: tmp_path / f"{name}-{way}.tif" for name in ("blurred", "nodata")}
        apply(blur, {"image": source}, outputs, other=2, window=32, overlap=1, executor=executor)
    for name in ("blurred", "nodata"):
        assert (tmp_path / f"{name}-workers.tif").read_bytes() == (tmp_path / f"{name}-serial.tif").read_bytes()


@pytest.mark.parametrize("edge", EDGES)
def test_margins_beyond_the_edge_equal_those_of_a_serial_run(edge: Edge, pool: BatchExecutor, tmp_path: Path) -> None:
    source = image(tmp_path, "uint8")
    for way, executor in (("serial", None), ("workers", pool)):
        outputs = {name: tmp_path / f"{name}-{way}.tif" for name in ("blurred", "nodata")}
        apply(blur, {"image": source}, outputs, other=2, window=32, overlap=1, edge=edge, executor=executor)
    assert (tmp_path / "blurred-workers.tif").read_bytes() == (tmp_path / "blurred-serial.tif").read_bytes()


def test_a_failed_tile_is_numbered_within_its_own_raster(pool: BatchExecutor, tmp_path: Path) -> None:
    """The pool has computed other tiles before, so its own numbers are higher."""
    source = image(tmp_path, "uint8")
    with pytest.raises(TileError) as caught:
        apply(raise_error, {"image": source}, {"result": tmp_path / "out.tif"}, window=32, executor=pool)
    first, *more = str(caught.value).splitlines()
    assert first.startswith("tile 5 (window x=64 y=32 26×32 pixels) failed on worker ")  # noqa: RUF001 - the sign for "by"
    assert first.endswith(", attempt 1: ValueError: a bad pixel")
    assert "in raise_error" in "".join(more)
    assert [entry.name for entry in tmp_path.iterdir()] == ["in.tif"]


def test_missing_output_is_reported_without_a_traceback(pool: BatchExecutor, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="output 'result' was not set; the function set: 'resutl'"):
        apply(misspell, {"image": image(tmp_path, "uint8")}, {"result": tmp_path / "out.tif"}, executor=pool)


def add_offset(_info: BlockInfo, inputs: Blocks, outputs: Blocks) -> None:
    """Read a value from the folder and the environment, and change both."""
    offset = np.uint8(Path("offset").read_text()) + np.uint8(os.environ["OFFSET"])
    outputs.result = inputs.image + offset
    os.chdir("/")
    os.environ["OFFSET"] = "100"


def test_each_apply_has_the_folder_and_environment_of_its_start(
    pool: BatchExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This applies to inputs, outputs and files that the function opens; the last call is in the first folder."""
    for number, scene in enumerate(["one", "two", "one"]):
        folder = tmp_path / scene
        folder.mkdir(exist_ok=True)
        wanted = gdal.Open(str(image(folder, "uint8"))).ReadAsArray() + np.uint8(10 * len(scene) + number)
        (folder / "offset").write_text(str(10 * len(scene)))
        monkeypatch.chdir(folder)
        monkeypatch.setenv("OFFSET", str(number))
        apply(add_offset, {"image": "in.tif"}, {"result": f"out{number}.tif"}, window=32, executor=pool)
        assert np.array_equal(gdal.Open(str(folder / f"out{number}.tif")).ReadAsArray(), wanted)


def add_up(_info: BlockInfo, inputs: Blocks, _outputs: Blocks, other: SimpleNamespace) -> None:
    other.total += int(inputs.image.sum())
    other.histogram += np.bincount(inputs.image.ravel(), minlength=256)
    other.names["tiles"] = other.names.get("tiles", 0) + 1


def make_other() -> SimpleNamespace:
    return SimpleNamespace(total=0, histogram=np.zeros(256, np.int64), names={}, weights=np.ones(100))


def test_sums_in_other_are_returned_from_each_slot(pool: BatchExecutor, tmp_path: Path) -> None:
    """The second call has the same arguments, and must not continue with a slot's copy of the first."""
    source = image(tmp_path, "uint8")
    serial = make_other()
    assert apply(add_up, {"image": source}, {}, other=serial, window=32).others == [serial]
    for _ in range(2):
        sent = make_other()
        others = apply(add_up, {"image": source}, {}, other=sent, window=32, executor=pool).others
        assert 1 <= len(others) <= 2
        assert sum(each.total for each in others) == serial.total > 0
        assert np.array_equal(sum(each.histogram for each in others), serial.histogram)
        assert sum(each.names["tiles"] for each in others) == 9
        assert (sent.total, sent.names) == (0, {})
    assert [entry.name for entry in tmp_path.iterdir()] == ["in.tif"]


def test_plain_dict_is_returned(pool: BatchExecutor, tmp_path: Path) -> None:
    def count(_info: BlockInfo, _inputs: Blocks, _outputs: Blocks, other: dict[str, int]) -> None:
        other["tiles"] = other.get("tiles", 0) + 1

    applied = apply(count, {"image": image(tmp_path, "uint8")}, {}, other={}, window=32, executor=pool)
    others = applied.others
    assert sum(each.get("tiles", 0) for each in others) == 9


def test_unreturned_changes_are_warned_of(
    pool: BatchExecutor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = image(tmp_path, "uint8")
    apply(add_up, {"image": source}, {}, other=make_other(), window=32, executor=pool)
    gc.collect()
    [record] = [record for record in caplog.records if getattr(record, "action", "") == "other_not_read"]
    assert vars(record)["attributes"] == ["histogram", "names", "total"]


def keep_lock(_info: BlockInfo, _inputs: Blocks, _outputs: Blocks, other: SimpleNamespace) -> None:
    other.lock = threading.Lock()


def test_values_that_can_not_be_returned_are_warned_of(
    pool: BatchExecutor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = image(tmp_path, "uint8")
    applied = apply(keep_lock, {"image": source}, {}, other=make_other(), window=32, executor=pool)
    assert not any(hasattr(each, "lock") for each in applied.others)
    [record] = [record for record in caplog.records if getattr(record, "action", "") == "other_not_sent"]
    assert vars(record)["attributes"] == ["lock"]

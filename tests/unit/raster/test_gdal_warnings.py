"""Tests that GDAL's warnings are shown to the user from all threads and processes, and fail nothing."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from osgeo import gdal

from asyncbatch.raster import BlockInfo, Blocks, GdalWarning, apply
from asyncbatch.raster.bindings import collect_errors

Make = Callable[..., Path]

pytestmark = pytest.mark.usefixtures("raising")


def same(_info: BlockInfo, inputs: Blocks, outputs: Blocks) -> None:
    outputs.result = inputs.image


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """Return a TIFF with JPEG compression and a truncated block, for which GDAL warns and fills in pixels."""
    path = tmp_path / "damaged.tif"
    options = ["COMPRESS=JPEG", "TILED=YES", "BLOCKXSIZE=32", "BLOCKYSIZE=32"]
    dataset = gdal.GetDriverByName("GTiff").Create(str(path), 64, 64, 1, gdal.GDT_Byte, options)
    dataset.WriteArray(np.random.default_rng(1).integers(0, 255, (1, 64, 64)).astype(np.uint8))
    del dataset
    dataset = gdal.Open(str(path))
    band = dataset.GetRasterBand(1)
    offset, size = (int(band.GetMetadataItem(f"BLOCK_{what}_1_1", "TIFF")) for what in ("OFFSET", "SIZE"))
    del band, dataset
    content = bytearray(path.read_bytes())
    content[offset + size // 2 : offset + size // 2 + 40] = b"\xff\xd9" * 20
    path.write_bytes(content)
    return path


def test_nothing_is_shown_without_warnings(
    make: Make, scene: NDArray[Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    apply(same, {"image": make("in.tif", scene)}, {"result": tmp_path / "out.tif"})
    assert capfd.readouterr().err == ""


def test_warnings_when_reading_are_shown(damaged: Path, tmp_path: Path) -> None:
    with pytest.warns(GdalWarning, match="Corrupt JPEG data: premature end of data segment"):
        apply(same, {"image": damaged}, {"result": tmp_path / "out.tif"}, window=32)
    assert (tmp_path / "out.tif").exists()


def test_warnings_when_writing_are_shown(make: Make, scene: NDArray[Any], tmp_path: Path) -> None:
    options = ["PHOTOMETRIC=RGB"]
    with pytest.warns(GdalWarning) as shown:
        apply(same, {"image": make("in.tif", scene)}, {"result": tmp_path / "out.tif"}, creation_options=options)
    assert any("PHOTOMETRIC=RGB value does not" in str(each.message) for each in shown)
    assert (tmp_path / "out.tif").exists()


def test_warnings_name_the_output_and_not_its_temporary_file(make: Make, scene: NDArray[Any], tmp_path: Path) -> None:
    out = tmp_path / "out.tif"
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        apply(same, {"image": make("in.tif", scene)}, {"result": out}, creation_options=["PHOTOMETRIC=RGB"])
    messages = [str(each.message) for each in shown]
    named = tuple(
        f"GDAL: {name}: PHOTOMETRIC=RGB value does not" for name in (out, out.name)
    )  # only the name, in GDAL 3.13
    assert any(message.startswith(named) for message in messages)
    assert not any(".part" in message for message in messages)


def test_each_warning_is_shown_once() -> None:
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("default")
        for _ in range(3):
            with collect_errors() as heard:
                gdal.Error(gdal.CE_Warning, 1, "shown once")
                gdal.Error(gdal.CE_Debug, 1, "no warning")
            assert heard == []
    assert [(each.category, str(each.message)) for each in shown] == [(GdalWarning, "GDAL: shown once")]


def test_warnings_as_errors_end_a_computation_without_leftovers(
    make: Make, scene: NDArray[Any], tmp_path: Path
) -> None:
    image, out = make("in.tif", scene), tmp_path / "out" / "out.tif"
    out.parent.mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(GdalWarning):
            apply(same, {"image": image}, {"result": out}, creation_options=["PHOTOMETRIC=RGB"])
    assert list(out.parent.iterdir()) == []

"""Tests of the inspection of inputs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from osgeo import gdal

from asyncbatch.errors import RasterError
from asyncbatch.raster.plan import Label
from asyncbatch.raster.sources import inspect, is_same_projection, label_files

Make = Callable[..., Path]

pytestmark = pytest.mark.usefixtures("raising")


def test_projection_equals_itself_in_another_form(utm: str) -> None:
    assert is_same_projection(utm, utm.replace("WGS 84 / UTM zone 12N", "custom zone"))


def test_different_zones_are_different_projections(utm: str) -> None:
    central = utm.replace('"central_meridian",-111', '"central_meridian",-105')
    assert central != utm
    assert not is_same_projection(utm, central)


@pytest.mark.parametrize(("one", "other", "same"), [("", "", True), ("", "utm", False), ("utm", "not WKT", False)])
def test_no_projection_only_equals_no_projection(one: str, other: str, same: bool, utm: str) -> None:  # noqa: FBT001 - a table's column
    assert is_same_projection(one.replace("utm", utm), other.replace("utm", utm)) is same


def test_an_input_is_described(make: Make, scene: NDArray[Any]) -> None:
    path = make("in.tif", scene, nodata=3)
    seen = inspect(str(path), Label(name="image"))
    assert (seen.source.nodata, seen.source.bands, seen.source.dtype) == ((3, 3), 2, "uint8")
    assert (seen.grid.columns, seen.grid.rows) == (53, 37)
    assert seen.files == (str(path),)


def test_bands_of_several_types_have_a_common_type(make: Make, scene: NDArray[Any], tmp_path: Path) -> None:
    """RIOS uses the type of the first band, and truncates other values."""
    paths = [make("a.tif", scene[:1]), make("b.tif", scene[:1].astype(np.float32))]
    stack = tmp_path / "stack.vrt"
    gdal.BuildVRT(str(stack), [str(path) for path in paths], separate=True).FlushCache()
    assert inspect(str(stack), Label(name="image")).source.dtype == "float32"


def test_subdatasets_of_a_container_are_listed(tmp_path: Path) -> None:
    container = tmp_path / "container.gpkg"
    for table in ("first", "second"):
        options = [f"RASTER_TABLE={table}", "APPEND_SUBDATASET=YES"]
        dataset = gdal.GetDriverByName("GPKG").Create(str(container), 8, 8, 1, gdal.GDT_Byte, options)
        dataset.SetGeoTransform((0.0, 1.0, 0.0, 0.0, 0.0, -1.0))
        del dataset
    names = f"GPKG:{container}:first, GPKG:{container}:second"
    with pytest.raises(RasterError, match=f"has no raster bands; pass one of its subdatasets: {names}"):
        inspect(str(container), Label(name="image"))


def test_files_are_listed_with_their_labels() -> None:
    assert label_files({"a": "1.tif", "b": ["2.tif", Path("3.tif")]}, "input") == [
        (Label(name="a"), "1.tif"),
        (Label(name="b", position=0), "2.tif"),
        (Label(name="b", position=1), "3.tif"),
    ]

"""Inputs are looked at as GDAL describes them."""

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


def test_a_projection_is_the_same_in_other_words(utm: str) -> None:
    assert is_same_projection(utm, utm.replace("WGS 84 / UTM zone 12N", "our own zone"))


def test_another_zone_is_another_projection(utm: str) -> None:
    central = utm.replace('"central_meridian",-111', '"central_meridian",-105')
    assert central != utm
    assert not is_same_projection(utm, central)


@pytest.mark.parametrize(("one", "other", "same"), [("", "", True), ("", "utm", False), ("utm", "not WKT", False)])
def test_no_projection_is_like_no_projection_only(one: str, other: str, same: bool, utm: str) -> None:  # noqa: FBT001 - a table's column
    assert is_same_projection(one.replace("utm", utm), other.replace("utm", utm)) is same


def test_an_input_is_described(make: Make, scene: NDArray[Any]) -> None:
    path = make("in.tif", scene, nodata=3)
    seen = inspect(str(path), Label(name="image"))
    assert (seen.source.nodata, seen.source.bands, seen.source.dtype) == ((3, 3), 2, "uint8")
    assert (seen.grid.columns, seen.grid.rows) == (53, 37)
    assert seen.files == (str(path),)


def test_bands_of_several_types_share_one_that_holds_them(make: Make, scene: NDArray[Any], tmp_path: Path) -> None:
    """RIOS takes the first band's type, and so cuts off what it can't hold."""
    paths = [make("a.tif", scene[:1]), make("b.tif", scene[:1].astype(np.float32))]
    stack = tmp_path / "stack.vrt"
    gdal.BuildVRT(str(stack), [str(path) for path in paths], separate=True).FlushCache()
    assert inspect(str(stack), Label(name="image")).source.dtype == "float32"


def test_a_container_tells_what_it_contains(tmp_path: Path) -> None:
    container = tmp_path / "container.gpkg"
    for table in ("first", "second"):
        options = [f"RASTER_TABLE={table}", "APPEND_SUBDATASET=YES"]
        dataset = gdal.GetDriverByName("GPKG").Create(str(container), 8, 8, 1, gdal.GDT_Byte, options)
        dataset.SetGeoTransform((0.0, 1.0, 0.0, 0.0, 0.0, -1.0))
        del dataset
    names = f"GPKG:{container}:first, GPKG:{container}:second"
    with pytest.raises(RasterError, match=f"has no raster bands; pass one of its subdatasets: {names}"):
        inspect(str(container), Label(name="image"))


def test_files_are_spread_with_their_labels() -> None:
    assert label_files({"a": "1.tif", "b": ["2.tif", Path("3.tif")]}, "input") == [
        (Label(name="a"), "1.tif"),
        (Label(name="b", position=0), "2.tif"),
        (Label(name="b", position=1), "3.tif"),
    ]

"""Small rasters for tests, read and written as whole arrays, unlike in the code under test."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from osgeo import gdal, gdal_array, osr

TRANSFORM = (300_000.0, 30.0, 0.0, 4_500_000.0, 0.0, -30.0)

Make = Callable[..., Path]
Read = Callable[[Path], NDArray[Any]]


@pytest.fixture(scope="session", autouse=True)
def _settled() -> None:
    """Enable GDAL's exceptions, since GDAL warns if they are neither enabled nor disabled."""
    gdal.UseExceptions()


@pytest.fixture(autouse=True)
def _has_driver(request: pytest.FixtureRequest) -> None:
    """Skip a test if this GDAL does not have a driver; GDAL's wheels have few."""
    callspec = getattr(request.node, "callspec", None)
    driver = callspec.params.get("driver") if callspec else None
    if isinstance(driver, str) and gdal.GetDriverByName(driver) is None:
        pytest.skip(f"this GDAL has no {driver} driver")


@pytest.fixture(params=[True, False], ids=["exceptions", "codes"])
def raising(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run the test with GDAL's exceptions enabled and disabled, and check that the setting is unchanged."""
    if not request.param:
        gdal.DontUseExceptions()
    yield
    assert bool(gdal.GetUseExceptions()) == request.param
    gdal.UseExceptions()


@pytest.fixture
def utm() -> str:
    reference = osr.SpatialReference()
    reference.ImportFromEPSG(32612)
    return str(reference.ExportToWkt())


@pytest.fixture
def make(tmp_path: Path, utm: str) -> Make:
    """Return a function that writes an array of shape (bands, rows, columns) to a file."""

    def write(
        name: str,
        array: NDArray[Any],
        *,
        transform: Sequence[float] | None = TRANSFORM,
        projection: str | None = None,
        nodata: Sequence[float | None] | float | None = None,
        driver: str = "GTiff",
    ) -> Path:
        path = tmp_path / name
        bands, rows, columns = array.shape
        kind = gdal_array.NumericTypeCodeToGDALTypeCode(array.dtype)
        dataset = gdal.GetDriverByName(driver).Create(str(path), columns, rows, bands, kind)
        if transform is not None:
            dataset.SetGeoTransform(transform)
        dataset.SetProjection(utm if projection is None else projection)
        values = [nodata] * bands if isinstance(nodata, int | float | None) else nodata
        for band, value in enumerate(values):
            if value is not None:
                dataset.GetRasterBand(band + 1).SetNoDataValue(value)
        dataset.WriteArray(array)
        del dataset
        return path

    return write


@pytest.fixture
def read() -> Read:
    def whole(path: Path) -> NDArray[Any]:
        array: NDArray[Any] = gdal.Open(str(path)).ReadAsArray()
        return array if array.ndim == 3 else array[np.newaxis]

    return whole


@pytest.fixture
def scene() -> NDArray[np.uint8]:
    """Return two bands of 37 by 53 pixels, which are not multiples of any window in the tests."""
    return np.random.default_rng(7).integers(1, 255, (2, 37, 53)).astype(np.uint8)

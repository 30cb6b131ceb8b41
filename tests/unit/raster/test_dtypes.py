"""Tests of the conversion of data types between numpy and GDAL, and of nodata values to a type."""

import math
from typing import Any

import numpy as np
import pytest
from osgeo import gdal, gdal_array

from asyncbatch.raster.dtypes import Number, fit_nodata, get_gdal_name, get_numpy_type

KNOWN = ["uint8", "uint16", "int16", "uint32", "int32", "float32", "float64", "complex64", "complex128"]


@pytest.mark.parametrize("name", KNOWN)
def test_gdal_types_match_numpy_types(name: str) -> None:
    dtype = np.dtype(name)
    reported = get_gdal_name(dtype)
    assert reported is not None
    assert gdal.GetDataTypeByName(reported) == gdal_array.NumericTypeCodeToGDALTypeCode(dtype.type)
    assert get_numpy_type(reported) == dtype


def test_types_without_a_counterpart_have_no_name() -> None:
    assert get_gdal_name(np.dtype(bool)) is None
    assert get_gdal_name(np.dtype("U3")) is None
    assert get_numpy_type("Unknown") is None


@pytest.mark.parametrize(
    ("value", "dtype", "wanted"),
    [
        (255.0, "uint8", 255),
        (0, "uint8", 0),
        (256, "uint8", None),
        (-9999.0, "uint8", None),
        (0.5, "int16", None),
        (math.nan, "int32", None),
        (math.inf, "int32", None),
        (2**63 - 1, "int64", 2**63 - 1),
        (2**63, "int64", None),
        (2**64 - 1, "uint64", 2**64 - 1),
        (-9999, "float32", -9999.0),
        (1e300, "float32", None),
        (math.inf, "float32", math.inf),
        (1e300, "complex128", 1e300),
        (0.1, "float32", float(np.float32(0.1))),
    ],
)
def test_nodata_value_that_does_not_fit_is_none(value: Number, dtype: str, wanted: Number | None) -> None:
    got = fit_nodata(value, np.dtype(dtype))
    assert got == wanted
    assert type(got) is type(wanted)


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
def test_nan_fits_all_types_but_integers(dtype: str) -> None:
    assert math.isnan(fit_nodata(math.nan, np.dtype(dtype)) or 0)


def test_all_names_exist_in_this_or_a_newer_gdal() -> None:
    names: list[Any] = [get_gdal_name(np.dtype(name)) for name in [*KNOWN, "int64", "uint64"]]
    assert all(gdal.GetDataTypeByName(name) for name in names)

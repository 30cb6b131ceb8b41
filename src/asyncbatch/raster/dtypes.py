"""Data types of numpy and GDAL, and the values that they can represent. Does no I/O."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Number = int | float

_GDAL_NAMES = {
    "uint8": "Byte",
    "int8": "Int8",
    "uint16": "UInt16",
    "int16": "Int16",
    "uint32": "UInt32",
    "int32": "Int32",
    "uint64": "UInt64",
    "int64": "Int64",
    "float16": "Float16",
    "float32": "Float32",
    "float64": "Float64",
    "complex64": "CFloat32",
    "complex128": "CFloat64",
}

_NUMPY_NAMES = {name: dtype for dtype, name in _GDAL_NAMES.items()} | {
    "UInt8": "uint8",
    # numpy has no complex integers, so GDAL converts them to a wider type.
    "CInt16": "complex64",
    "CInt32": "complex128",
    "CFloat16": "complex64",
}


EXACT = np.dtype(np.float64)
"""The floating-point type of GDAL that represents the most integers exactly."""


def get_gdal_name(dtype: np.dtype[Any]) -> str | None:
    """Return GDAL's name for a numpy type; None if GDAL has no such type."""
    return _GDAL_NAMES.get(dtype.name)


def get_numpy_type(gdal_name: str) -> np.dtype[Any] | None:
    """Return the numpy type for a GDAL type; None if it is unknown."""
    name = _NUMPY_NAMES.get(gdal_name)
    return None if name is None else np.dtype(name)


def fit_nodata(value: Number, dtype: np.dtype[Any]) -> Number | None:
    """Convert a nodata value to a Python number for a type; None if no pixel of the type can have it.

    A fraction is rounded like pixels. An integer, which Python represents exactly, is not rounded.
    """
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        # NaN and infinities fail the first or the last comparison.
        if not limits.min <= value <= limits.max or value != int(value):
            return None
        return int(value)
    real = np.empty(0, dtype).real.dtype
    try:
        with np.errstate(over="ignore"):
            rounded = float(real.type(value))
    except OverflowError:  # an integer too large for floating point
        return None
    if np.isinf(rounded) and not np.isinf(value):
        return None
    return None if isinstance(value, int) and rounded != value else rounded


def find_inexact(array: Array, dtype: np.dtype[Any]) -> int | None:
    """Return the first value of an array that a type can't represent exactly; None if there is none.

    Of numpy's safe casts, only those from 64-bit integers to floating point may change a value.

    Parameters
    ----------
    array : ndarray
        Its type can be safely cast to `dtype`.
    dtype : dtype
        The type to convert to.
    """
    if array.dtype.kind not in "iu" or array.dtype.itemsize < EXACT.itemsize or dtype.kind in "iu":
        return None
    converted = array.astype(EXACT)
    # One past the largest integer rounds to itself, and can't be converted back on every machine.
    within = converted < float(np.iinfo(array.dtype).max)
    inexact = ~within | (np.where(within, converted, 0.0).astype(array.dtype) != array)
    return int(array[inexact][0]) if inexact.any() else None

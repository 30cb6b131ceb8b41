"""How GDAL stores pixels: types of bands, and other properties that limit their values.

Before version 3.7 GDAL has no type for signed bytes. They are stored in bands of type Byte with the metadata
``PIXELTYPE=SIGNEDBYTE``, and GDAL treats their pixels as unsigned when it converts them.
"""

import re
from typing import Any

import numpy as np

from asyncbatch.raster.bindings import load_gdal
from asyncbatch.raster.dtypes import get_gdal_name, get_numpy_type

SIGNED = "PIXELTYPE=SIGNEDBYTE"
"""The creation option and metadata for signed bytes."""

SIGNED_BYTE = np.dtype(np.int8)


def has_signed_byte() -> bool:
    """Return whether this GDAL has a type for signed bytes."""
    return bool(load_gdal().GetDataTypeByName("Int8") != load_gdal().GDT_Unknown)


def is_marked_signed(band: Any) -> bool:  # noqa: ANN401 - GDAL carries no types
    """Return whether metadata mark a band's bytes as signed."""
    return bool(band.DataType == load_gdal().GDT_Byte) and _read_metadata(band, "PIXELTYPE") == "SIGNEDBYTE"


def read_type(band: Any) -> np.dtype[Any] | None:  # noqa: ANN401 - as above
    """Return the numpy type of a band's pixels; None if numpy has no such type."""
    if is_marked_signed(band) and not has_signed_byte():
        return SIGNED_BYTE
    return get_numpy_type(load_gdal().GetDataTypeName(band.DataType))


def get_buffer_type(band: Any, dtype: np.dtype[Any]) -> int:  # noqa: ANN401 - as above
    """Return GDAL's type for an array that is read from or written to a band of type `dtype` without conversion."""
    if dtype == SIGNED_BYTE and band.DataType == load_gdal().GDT_Byte:
        return int(load_gdal().GDT_Byte)
    return int(load_gdal().GetDataTypeByName(get_gdal_name(dtype)))


def read_bits(band: Any) -> int | None:  # noqa: ANN401 - as above
    """Return the number of bits of each pixel of an integer band, if it is less than that of its type."""
    dtype, bits = read_type(band), _read_metadata(band, "NBITS")
    if dtype is None or dtype.kind not in "iu" or bits is None or int(bits) >= 8 * dtype.itemsize:
        return None
    return int(bits)


def get_creation_type(dtype: np.dtype[Any], driver: Any) -> tuple[int, tuple[str, ...]]:  # noqa: ANN401 - as above
    """Return GDAL's type and creation options for a new file of a numpy type.

    Returns
    -------
    int
        ``GDT_Unknown`` if this GDAL, or the driver, has no such type.
    tuple of str
        Options that the type requires.
    """
    kind = int(load_gdal().GetDataTypeByName(get_gdal_name(dtype)))
    options = driver.GetMetadataItem("DMD_CREATIONOPTIONLIST") or ""
    if kind == load_gdal().GDT_Unknown and dtype == SIGNED_BYTE and re.search(r"\bSIGNEDBYTE\b", options):
        return int(load_gdal().GDT_Byte), (SIGNED,)
    return kind, ()


def _read_metadata(band: Any, item: str) -> str | None:  # noqa: ANN401 - as above
    # Reads all items, since GDAL 3.7 and later warns about reading PIXELTYPE alone.
    value: str | None = (band.GetMetadata("IMAGE_STRUCTURE") or {}).get(item)
    return value

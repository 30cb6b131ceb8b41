"""How GDAL stores pixels: the types of bands and what else decides which values they can have.

Before version 3.7 GDAL has no type for signed bytes. They are bands of the type Byte whose metadata say
``PIXELTYPE=SIGNEDBYTE``, and GDAL itself takes their pixels for unsigned wherever it converts them.
"""

import re
from typing import Any

import numpy as np

from asyncbatch.raster.bindings import gdal
from asyncbatch.raster.dtypes import gdal_name, numpy_type

SIGNED = "PIXELTYPE=SIGNEDBYTE"
"""The creation option for signed bytes, and where the metadata say so."""

SIGNED_BYTE = np.dtype(np.int8)


def has_signed_byte() -> bool:
    """Return whether this GDAL has a type for signed bytes."""
    return bool(gdal().GetDataTypeByName("Int8") != gdal().GDT_Unknown)


def is_marked_signed(band: Any) -> bool:  # noqa: ANN401 - GDAL carries no types
    """Return whether metadata say that a band's bytes are signed."""
    return bool(band.DataType == gdal().GDT_Byte) and _metadata(band, "PIXELTYPE") == "SIGNEDBYTE"


def read_type(band: Any) -> np.dtype[Any] | None:  # noqa: ANN401 - as above
    """Return the numpy type of a band's pixels; None if numpy has none."""
    if is_marked_signed(band) and not has_signed_byte():
        return SIGNED_BYTE
    return numpy_type(gdal().GetDataTypeName(band.DataType))


def buffer_type(band: Any, dtype: np.dtype[Any]) -> int:  # noqa: ANN401 - as above
    """Return GDAL's type for an array whose bytes go from or to a band unchanged, if `dtype` is the band's own."""
    if dtype == SIGNED_BYTE and band.DataType == gdal().GDT_Byte:
        return int(gdal().GDT_Byte)
    return int(gdal().GetDataTypeByName(gdal_name(dtype)))


def read_bits(band: Any) -> int | None:  # noqa: ANN401 - as above
    """Return how many bits the file has for each pixel of a band of integers, if they are fewer than its type has."""
    dtype, bits = read_type(band), _metadata(band, "NBITS")
    if dtype is None or dtype.kind not in "iu" or bits is None or int(bits) >= 8 * dtype.itemsize:
        return None
    return int(bits)


def creation_type(dtype: np.dtype[Any], driver: Any) -> tuple[int, tuple[str, ...]]:  # noqa: ANN401 - as above
    """Return GDAL's type and the creation options for a new file of a numpy type.

    Returns
    -------
    int
        ``GDT_Unknown`` if this GDAL, or the driver, has no such type.
    tuple of str
        Options that the type needs.
    """
    kind = int(gdal().GetDataTypeByName(gdal_name(dtype)))
    options = driver.GetMetadataItem("DMD_CREATIONOPTIONLIST") or ""
    if kind == gdal().GDT_Unknown and dtype == SIGNED_BYTE and re.search(r"\bSIGNEDBYTE\b", options):
        return int(gdal().GDT_Byte), (SIGNED,)
    return kind, ()


def _metadata(band: Any, item: str) -> str | None:  # noqa: ANN401 - as above
    # All of them, since from 3.7 on GDAL warns whoever asks for PIXELTYPE alone.
    value: str | None = (band.GetMetadata("IMAGE_STRUCTURE") or {}).get(item)
    return value

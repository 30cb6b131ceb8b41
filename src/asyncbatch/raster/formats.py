"""Which GDAL driver writes a file, and with which creation options; settled before any work."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asyncbatch.errors import RasterError
from asyncbatch.raster.bindings import gdal
from asyncbatch.raster.creation import closest, explain_refusal, read_options

DEFAULTS: dict[str, tuple[str, ...]] = {
    # As RIOS has them, so that both give a user the same file.
    "GTiff": ("TILED=YES", "COMPRESS=LZW", "INTERLEAVE=BAND", "BIGTIFF=IF_SAFER"),
    "HFA": ("COMPRESSED=YES",),
}

EXACT = frozenset({"ENVI", "ERS", "EHdr", "GTiff", "HFA", "KEA", "RRASTER", "SAGA", "Zarr"})
"""Drivers that keep every value, unless a creation option says otherwise.

Others may change some by default: GPKG writes opaque tiles as JPEG, ILWIS has no room for the least integers, netCDF
is read upside down where its extension is not .nc. What they have written is read again and compared.
"""

TIFF_BLOCK = 256
"""GDAL's block size of a tiled TIFF."""
TIFF_STEP = 16
"""The sides of a TIFF's blocks must be multiples of this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """How a raster file is written."""

    driver: str
    """GDAL's short name."""
    options: tuple[str, ...]
    """As ``KEY=VALUE``."""


def choose_format(path: str, driver: str | None, options: Sequence[str], window: int) -> Format:
    """Settle driver and options of an output.

    Parameters
    ----------
    path : str
        Its extension names the driver if `driver` is None.
    driver : str or None
        GDAL's short name.
    options : sequence of str
        ``KEY=VALUE`` each; they add to the driver's defaults and win over them.
    window : int
        Side of a tile in pixels; TIFF blocks are made to fit it.

    Raises
    ------
    RasterError
        If there is no such driver, it can't write in pieces, or it can't take an option or its value.
    """
    name = driver_of(path) if driver is None else driver
    found = gdal().GetDriverByName(name)
    if found is None or found.GetMetadataItem("DCAP_RASTER") != "YES":
        writable = [driver.ShortName for driver in _raster_drivers() if driver.GetMetadataItem("DCAP_CREATE") == "YES"]
        meant = closest(name, writable) or "take GTiff, for instance"
        raise RasterError(f"output {path}: this GDAL has no raster format {name!r}; {meant}")
    if found.GetMetadataItem("DCAP_CREATE") != "YES":
        raise RasterError(
            f"output {path}: format {name} can't be written tile by tile; "
            f"write a GTiff (.tif) and convert it with gdal_translate -of {name}"
        )
    settled = merged(DEFAULTS.get(found.ShortName, ()), options)
    _refuse_options(settled, found, path)
    if found.ShortName == "GTiff":
        settled = with_fitting_blocks(settled, window)
    return Format(driver=found.ShortName, options=settled)


def driver_of(path: str) -> str:
    """Return the name of the first driver that writes files with the path's extension tile by tile."""
    extension = Path(path).suffix[1:].lower()
    candidates = [
        driver.ShortName
        for driver in _raster_drivers()
        if extension and extension in (driver.GetMetadataItem("DMD_EXTENSIONS") or "").split()
    ]
    for name in candidates:
        if gdal().GetDriverByName(name).GetMetadataItem("DCAP_CREATE") == "YES":
            return str(name)
    if candidates:
        return str(candidates[0])
    shown = f"the extension .{extension}" if extension else "a name without extension"
    raise RasterError(f"output {path}: no GDAL format goes with {shown}; name one with format=, or end it in .tif")


def merged(defaults: Sequence[str], options: Sequence[str]) -> tuple[str, ...]:
    """Put the user's options in the place of the defaults with the same keys."""
    settled: dict[str, str] = {}
    for option in (*defaults, *options):
        if not re.fullmatch(r"[^=\s]+=.*", option):
            raise RasterError(f"the creation option {option!r} is not of the form KEY=VALUE")
        settled[option.partition("=")[0].upper()] = option
    return tuple(settled.values())


def with_fitting_blocks(options: Sequence[str], window: int) -> tuple[str, ...]:
    """Let each TIFF block lie within one window, where that is possible and the user has no say in it.

    A block that several windows share may be written more than once, and a compressed TIFF never takes back the
    space of its first writing.
    """
    keys = {option.partition("=")[0].upper() for option in options}
    if "TILED=YES" not in options or {"BLOCKXSIZE", "BLOCKYSIZE"} & keys:
        return tuple(options)
    fitting = [side for side in range(TIFF_STEP, TIFF_BLOCK + 1, TIFF_STEP) if window % side == 0]
    if not fitting or max(fitting) == TIFF_BLOCK:
        return tuple(options)
    return (*options, f"BLOCKXSIZE={max(fitting)}", f"BLOCKYSIZE={max(fitting)}")


def _refuse_options(options: Sequence[str], driver: Any, path: str) -> None:  # noqa: ANN401 - GDAL carries no types
    known = read_options(driver.GetMetadataItem("DMD_CREATIONOPTIONLIST") or "")
    for option in options:
        refusal = explain_refusal(option, known)
        if refusal:
            raise RasterError(f"output {path}: format {driver.ShortName} {refusal}")


def _raster_drivers() -> Iterator[Any]:
    bindings = gdal()
    for index in range(bindings.GetDriverCount()):
        driver = bindings.GetDriver(index)
        if driver.GetMetadataItem("DCAP_RASTER") == "YES":
            yield driver

"""Chooses the GDAL driver and creation options of an output."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asyncbatch.errors import RasterError
from asyncbatch.raster.bindings import load_gdal
from asyncbatch.raster.creation import explain_refusal, read_options, suggest_closest

DEFAULTS: dict[str, tuple[str, ...]] = {
    # The same as in RIOS, so that both write the same file.
    "GTiff": ("TILED=YES", "COMPRESS=LZW", "INTERLEAVE=BAND", "BIGTIFF=IF_SAFER"),
    "HFA": ("COMPRESSED=YES",),
}

EXACT = frozenset({"ENVI", "ERS", "EHdr", "GTiff", "HFA", "KEA", "RRASTER", "SAGA", "Zarr"})
"""Drivers that preserve every value, unless a creation option changes that.

Others may change values by default: GPKG writes opaque tiles as JPEG, ILWIS can't represent the smallest integers, and
netCDF is read upside down if the extension is not .nc. Files of these drivers are read again and compared.
"""

TIFF_BLOCK = 256
"""GDAL's block size of a tiled TIFF."""
TIFF_STEP = 16
"""The sizes of a TIFF's blocks must be multiples of this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """The driver and options for writing a raster file."""

    driver: str
    """GDAL's short name."""
    options: tuple[str, ...]
    """Options as ``KEY=VALUE``."""


def choose_format(path: str, driver: str | None, options: Sequence[str], window: int) -> Format:
    """Choose the driver and options of an output.

    Parameters
    ----------
    path : str
        Path of the output; its extension selects the driver if `driver` is None.
    driver : str or None
        GDAL's short name.
    options : sequence of str
        ``KEY=VALUE`` options, which are added to the driver's defaults and override them.
    window : int
        Size of a tile in pixels; TIFF blocks are chosen to fit.

    Raises
    ------
    RasterError
        If there is no such driver, it can't write tile by tile, or it rejects an option.
    """
    name = find_driver(path) if driver is None else driver
    found = load_gdal().GetDriverByName(name)
    if found is None or found.GetMetadataItem("DCAP_RASTER") != "YES":
        writable = [driver.ShortName for driver in _list_drivers() if driver.GetMetadataItem("DCAP_CREATE") == "YES"]
        meant = suggest_closest(name, writable) or "choose GTiff, for example"
        raise RasterError(f"output {path}: this GDAL does not support format {name!r}; {meant}")
    if found.GetMetadataItem("DCAP_CREATE") != "YES":
        raise RasterError(
            f"output {path}: format {name} can't be written tile by tile; "
            f"write a GTiff (.tif) and convert it with gdal_translate -of {name}"
        )
    settled = merge_options(DEFAULTS.get(found.ShortName, ()), options)
    _refuse_options(settled, found, path)
    if found.ShortName == "GTiff":
        settled = fit_blocks(settled, window)
    return Format(driver=found.ShortName, options=settled)


def find_driver(path: str) -> str:
    """Return the first driver that writes files with the path's extension tile by tile."""
    extension = Path(path).suffix[1:].lower()
    candidates = [
        driver.ShortName
        for driver in _list_drivers()
        if extension and extension in (driver.GetMetadataItem("DMD_EXTENSIONS") or "").split()
    ]
    for name in candidates:
        if load_gdal().GetDriverByName(name).GetMetadataItem("DCAP_CREATE") == "YES":
            return str(name)
    if candidates:
        return str(candidates[0])
    shown = f"the extension .{extension}" if extension else "a name without extension"
    raise RasterError(f"output {path}: no GDAL format matches {shown}; pass format=, or use the extension .tif")


def merge_options(defaults: Sequence[str], options: Sequence[str]) -> tuple[str, ...]:
    """Merge the user's options with the defaults, which they override."""
    settled: dict[str, str] = {}
    for option in (*defaults, *options):
        if not re.fullmatch(r"[^=\s]+=.*", option):
            raise RasterError(f"the creation option {option!r} is not of the form KEY=VALUE")
        settled[option.partition("=")[0].upper()] = option
    return tuple(settled.values())


def fit_blocks(options: Sequence[str], window: int) -> tuple[str, ...]:
    """Choose the TIFF block size so that each block is within one window, if possible and not set by the user.

    A block that several windows share may be written more than once, and a compressed TIFF never reuses the space of
    an earlier write.
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


def _list_drivers() -> Iterator[Any]:
    bindings = load_gdal()
    for index in range(bindings.GetDriverCount()):
        driver = bindings.GetDriver(index)
        if driver.GetMetadataItem("DCAP_RASTER") == "YES":
            yield driver

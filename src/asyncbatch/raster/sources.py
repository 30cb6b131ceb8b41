"""Inspects input files: their bands, types and grids, and whether their grids match."""

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from asyncbatch.errors import GridMismatch, RasterError
from asyncbatch.raster.bindings import collect_errors, disable_exceptions, format_reason, load_gdal, load_osr
from asyncbatch.raster.dtypes import Number, fit_nodata
from asyncbatch.raster.grid import Grid, describe_difference
from asyncbatch.raster.plan import Label, Source
from asyncbatch.raster.stored import SIGNED, SIGNED_BYTE, has_signed_byte, is_marked_signed, read_type

AnyPath = str | os.PathLike[str]
Files = Mapping[str, AnyPath | Sequence[AnyPath]]
"""A path or a list of paths for each name."""


VIRTUAL: Final = {"s3": "/vsis3/", "gs": "/vsigs/", "az": "/vsiaz/", "file": ""}
"""GDAL's prefix for files, by the scheme of URLs that GDAL does not support."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspected:
    """An inspected input file."""

    source: Source
    grid: Grid
    files: tuple[str, ...]
    """All files that GDAL reads for it, such as a VRT's sources."""


def label_files(files: Files, kind: str) -> list[tuple[Label, str]]:
    """Return single files, each with its label.

    Raises
    ------
    RasterError
        If a name is not a Python identifier, or has no file.
    """
    found: list[tuple[Label, str]] = []
    for name, entry in files.items():
        if not name.isidentifier():
            raise RasterError(f"{kind} {name!r} is not a valid attribute name; use letters, digits and underscores")
        if isinstance(entry, str | os.PathLike):
            found.append((Label(name=name), os.fspath(entry)))
        elif entry:
            found += [(Label(name=name, position=place), os.fspath(path)) for place, path in enumerate(entry)]
        else:
            raise RasterError(f"{kind} {name!r} is an empty list of files")
    return found


def open_raster(location: str, path: str, label: Label) -> Any:  # noqa: ANN401 - GDAL carries no types
    """Open a raster for reading.

    Parameters
    ----------
    location : str
        Name for GDAL.
    path : str
        Path as the user passed it.
    label : Label
        Label of the input.

    Raises
    ------
    RasterError
        If it can't be opened, with GDAL's reason.
    """
    dataset = None
    with collect_errors() as heard:
        dataset = load_gdal().Open(location)
    if dataset is None:
        meant = translate_url(path)
        hint = f"; GDAL's name for it is {meant}" if meant else ""
        raise RasterError(f"input {label}: can't open {path}: {format_reason(heard, location)}{hint}")
    return dataset


def translate_url(path: str) -> str | None:
    """Return GDAL's name for a URL; None if GDAL supports such URLs, or the scheme is unknown."""
    scheme, separator, rest = path.partition("://")
    prefix = VIRTUAL.get(scheme.lower())
    return prefix + rest if separator and prefix is not None else None


def inspect(path: str, label: Label) -> Inspected:
    """Inspect an input file.

    Raises
    ------
    RasterError
        If it can't be read, has no bands, or numpy or this GDAL does not support its types.

    Warns
    -----
    UserWarning
        If it declares a nodata value that no pixel of the band can have.
    """
    # GDAL's names for subdatasets and for files on the network are not local files.
    location = os.path.abspath(path) if os.path.exists(path) else path  # noqa: PTH100, PTH110 - may not be a path
    dataset = open_raster(location, path, label)
    with collect_errors():
        transform = dataset.GetGeoTransform(can_return_null=True)
        projection = dataset.GetProjection()
        files = tuple(dataset.GetFileList() or ())
    if not dataset.RasterCount:
        raise RasterError(f"input {label}: {path} has no raster bands{_format_subdatasets(dataset)}")
    types = read_types(dataset, path, label)
    _refuse_lost_signs(dataset, types, files, f"input {label}: {path}")
    return Inspected(
        source=Source(
            label=label,
            path=path,
            location=location,
            types=types,
            nodata=_read_nodata(dataset, types, f"input {label}: {path}"),
        ),
        grid=Grid(
            columns=dataset.RasterXSize,
            rows=dataset.RasterYSize,
            transform=tuple(transform) if transform else None,
            projection=projection or "",
        ),
        files=files,
    )


def read_types(dataset: Any, path: str, label: Label) -> tuple[str, ...]:  # noqa: ANN401 - GDAL carries no types
    """Return the name of each band's numpy type.

    Raises
    ------
    RasterError
        If numpy does not support one of them.
    """
    types = []
    for band in _list_bands(dataset):
        dtype = read_type(band)
        if dtype is None:
            name = load_gdal().GetDataTypeName(band.DataType)
            raise RasterError(f"input {label}: {path} has bands of type {name}, which numpy does not support")
        types.append(dtype.name)
    return tuple(types)


def find_common_grid(inspected: Sequence[Inspected]) -> Grid:
    """Return the grid that all inputs share.

    Raises
    ------
    GridMismatch
        If two of them differ, with the values of both.
    """
    first = inspected[0]
    for other in inspected[1:]:
        same = is_same_projection(first.grid.projection, other.grid.projection)
        differs = describe_difference(first.grid, other.grid, same_projection=same)
        if differs:
            raise GridMismatch(
                f"inputs {first.source.label} and {other.source.label} have different grids, {differs}: "
                f"{first.source.path} has {first.grid}; {other.source.path} has {other.grid}; "
                "to resample, reproject or clip inputs to a common extent, use RIOS (https://www.rioshome.org)"
            )
    return first.grid


def is_same_projection(one: str, other: str) -> bool:
    """Return whether two WKT texts mean the same projection; an empty text equals only an empty text."""
    if one == other or not (one and other):
        return one == other
    spatial = load_osr()
    with disable_exceptions(spatial), collect_errors():
        return bool(spatial.SpatialReference(one).IsSame(spatial.SpatialReference(other)))
    return False  # GDAL can't parse one of them


def _list_bands(dataset: Any) -> list[Any]:  # noqa: ANN401 - GDAL carries no types
    return [dataset.GetRasterBand(number + 1) for number in range(dataset.RasterCount)]


def _read_nodata(dataset: Any, types: Sequence[str], which: str) -> tuple[Number | None, ...]:  # noqa: ANN401 - as above
    """Return each band's nodata value, and warn if no pixel can have it."""
    declared: list[tuple[str, Number | None]] = []
    for dtype, band in zip(types, _list_bands(dataset), strict=True):
        value = None
        with collect_errors():
            value = band.GetNoDataValue()
        declared.append((dtype, value))
    found = [None if value is None else fit_nodata(value, np.dtype(dtype)) for dtype, value in declared]
    unfit = [each for each, value in zip(declared, found, strict=True) if each[1] is not None and value is None]
    for dtype, value in dict.fromkeys(unfit):
        message = f"{which} declares the nodata value {value}, which no pixel of type {dtype} can have; it is ignored"
        warnings.warn(message, stacklevel=2)
    return tuple(found)


def _refuse_lost_signs(dataset: Any, types: Sequence[str], files: Sequence[str], which: str) -> None:  # noqa: ANN401 - as above
    """Reject a raster whose signed bytes GDAL treats as unsigned.

    From version 3.7 on, this is the case if only metadata mark them as signed; before, in a VRT that was not made by
    gdal_translate. The files of a mosaic almost always have the same type, so only the first is checked.
    """
    if has_signed_byte():
        if any(is_marked_signed(band) for band in _list_bands(dataset)):
            raise RasterError(
                f"{which} has bands of type Byte that are marked as {SIGNED}, which GDAL {load_gdal().__version__} "
                "ignores; create it again with this GDAL, from files of type Int8"
            )
        return
    if dataset.GetDriver().ShortName != "VRT" or SIGNED_BYTE.name in types or not files[1:]:
        return
    source = None
    with collect_errors():
        source = load_gdal().Open(files[1])
    if source is not None and any(is_marked_signed(band) for band in _list_bands(source)):
        raise RasterError(
            f"{which} reads the signed bytes of {files[1]} as unsigned, since GDAL {load_gdal().__version__} loses the "
            "sign in a VRT; use GDAL 3.7 or later, or pass the files themselves"
        )


def _format_subdatasets(dataset: Any) -> str:  # noqa: ANN401 - GDAL carries no types
    names = [name for name, _description in dataset.GetSubDatasets()]
    return f"; pass one of its subdatasets: {', '.join(names)}" if names else ""

"""What the input files are: their bands, types and grids; and whether they lie on one grid."""

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from asyncbatch.errors import GridMismatch, RasterError
from asyncbatch.raster.bindings import exceptions_off, gdal, listening, osr, reason
from asyncbatch.raster.dtypes import Number, fitted
from asyncbatch.raster.grid import Grid, difference
from asyncbatch.raster.plan import Label, Source
from asyncbatch.raster.stored import SIGNED, SIGNED_BYTE, has_signed_byte, is_marked_signed, read_type

AnyPath = str | os.PathLike[str]
Files = Mapping[str, AnyPath | Sequence[AnyPath]]
"""A path, or a list of paths, for each name."""


VIRTUAL: Final = {"s3": "/vsis3/", "gs": "/vsigs/", "az": "/vsiaz/", "file": ""}
"""How GDAL names files whose URLs it does not read, by the URL's scheme."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspected:
    """An input file after a look at it."""

    source: Source
    grid: Grid
    files: tuple[str, ...]
    """All files GDAL reads for it, a VRT's sources and the like included."""


def labelled(files: Files, kind: str) -> list[tuple[Label, str]]:
    """Spread names and lists of files into single files, each with its label.

    Raises
    ------
    RasterError
        If a name is no Python name, or stands for no file.
    """
    found: list[tuple[Label, str]] = []
    for name, entry in files.items():
        if not name.isidentifier():
            raise RasterError(f"{kind} {name!r} can't be an attribute: take letters, digits and underscores")
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
        What GDAL is asked for.
    path : str
        How the user names it.
    label : Label
        Which input it is.

    Raises
    ------
    RasterError
        With GDAL's reason, if it can't be opened.
    """
    dataset = None
    with listening() as heard:
        dataset = gdal().Open(location)
    if dataset is None:
        meant = translate_url(path)
        hint = f"; GDAL's name of it is {meant}" if meant else ""
        raise RasterError(f"input {label}: can't open {path}: {reason(heard, location)}{hint}")
    return dataset


def translate_url(path: str) -> str | None:
    """Return GDAL's name of what a URL names; None where GDAL reads URLs of its kind, or no kind that is known."""
    scheme, separator, rest = path.partition("://")
    prefix = VIRTUAL.get(scheme.lower())
    return prefix + rest if separator and prefix is not None else None


def inspect(path: str, label: Label) -> Inspected:
    """Look at an input file.

    Raises
    ------
    RasterError
        If it can't be read, has no bands, or bands whose values numpy or this GDAL can't hold.

    Warns
    -----
    UserWarning
        If it declares a nodata value that no pixel of the band can have.
    """
    # GDAL's own names, of subdatasets and of files on the network, are no files here.
    location = os.path.abspath(path) if os.path.exists(path) else path  # noqa: PTH100, PTH110 - those are no paths
    dataset = open_raster(location, path, label)
    with listening():
        transform = dataset.GetGeoTransform(can_return_null=True)
        projection = dataset.GetProjection()
        files = tuple(dataset.GetFileList() or ())
    if not dataset.RasterCount:
        raise RasterError(f"input {label}: {path} has no raster bands of its own{_subdatasets(dataset)}")
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
        If numpy lacks one of them.
    """
    types = []
    for band in _list_bands(dataset):
        dtype = read_type(band)
        if dtype is None:
            name = gdal().GetDataTypeName(band.DataType)
            raise RasterError(f"input {label}: {path} has bands of the type {name}, which numpy does not have")
        types.append(dtype.name)
    return tuple(types)


def common_grid(inspected: Sequence[Inspected]) -> Grid:
    """Return the grid that all inputs lie on.

    Raises
    ------
    GridMismatch
        With the numbers of both, if two of them differ.
    """
    first = inspected[0]
    for other in inspected[1:]:
        same = same_projection(first.grid.projection, other.grid.projection)
        differs = difference(first.grid, other.grid, same_projection=same)
        if differs:
            raise GridMismatch(
                f"inputs {first.source.label} and {other.source.label} are not on one grid, {differs}: "
                f"{first.source.path} has {first.grid}; {other.source.path} has {other.grid}; "
                "for inputs that must be resampled, reprojected or cut to a common extent, take RIOS "
                "(https://www.rioshome.org)"
            )
    return first.grid


def same_projection(one: str, other: str) -> bool:
    """Tell whether two WKT texts mean the same projection; no projection is like no projection only."""
    if one == other or not (one and other):
        return one == other
    spatial = osr()
    with exceptions_off(spatial), listening():
        return bool(spatial.SpatialReference(one).IsSame(spatial.SpatialReference(other)))
    return False  # GDAL could not read one of them


def _list_bands(dataset: Any) -> list[Any]:  # noqa: ANN401 - GDAL carries no types
    return [dataset.GetRasterBand(number + 1) for number in range(dataset.RasterCount)]


def _read_nodata(dataset: Any, types: Sequence[str], which: str) -> tuple[Number | None, ...]:  # noqa: ANN401 - as above
    """Return each band's nodata value as its pixels have it, and warn where none can."""
    declared: list[tuple[str, Number | None]] = []
    for dtype, band in zip(types, _list_bands(dataset), strict=True):
        value = None
        with listening():
            value = band.GetNoDataValue()
        declared.append((dtype, value))
    found = [None if value is None else fitted(value, np.dtype(dtype)) for dtype, value in declared]
    unfit = [each for each, value in zip(declared, found, strict=True) if each[1] is not None and value is None]
    for dtype, value in dict.fromkeys(unfit):
        message = f"{which} declares the nodata value {value}, which no pixel of type {dtype} can have; it is ignored"
        warnings.warn(message, stacklevel=2)
    return tuple(found)


def _refuse_lost_signs(dataset: Any, types: Sequence[str], files: Sequence[str], which: str) -> None:  # noqa: ANN401 - as above
    """Refuse a raster in which GDAL takes signed bytes for unsigned ones.

    From version 3.7 on it does so where only metadata say that they are signed, and before in a VRT, unless
    gdal_translate has made it. A mosaic's files are nearly always of one kind, so the first one is asked.
    """
    if has_signed_byte():
        if any(is_marked_signed(band) for band in _list_bands(dataset)):
            raise RasterError(
                f"{which} has bands of the type Byte that are marked as {SIGNED}, which GDAL {gdal().__version__} "
                "ignores; make it again with this GDAL, from files of the type Int8"
            )
        return
    if dataset.GetDriver().ShortName != "VRT" or SIGNED_BYTE.name in types or not files[1:]:
        return
    source = None
    with listening():
        source = gdal().Open(files[1])
    if source is not None and any(is_marked_signed(band) for band in _list_bands(source)):
        raise RasterError(
            f"{which} reads the signed bytes of {files[1]} as unsigned: GDAL {gdal().__version__} loses the sign in a "
            "VRT; use GDAL 3.7, or pass the files themselves"
        )


def _subdatasets(dataset: Any) -> str:  # noqa: ANN401 - GDAL carries no types
    names = [name for name, _description in dataset.GetSubDatasets()]
    return f"; name one of its subdatasets: {', '.join(names)}" if names else ""

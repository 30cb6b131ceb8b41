"""What the input files are: their bands, types and grids; and whether they lie on one grid."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from asyncbatch.errors import GridMismatch, RasterError
from asyncbatch.raster.bindings import exceptions_off, gdal, listening, osr, reason
from asyncbatch.raster.dtypes import Number, numpy_type
from asyncbatch.raster.grid import Grid, difference
from asyncbatch.raster.plan import Label, Source

AnyPath = str | os.PathLike[str]
Files = Mapping[str, AnyPath | Sequence[AnyPath]]
"""A path, or a list of paths, for each name."""


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
        If there is no file at all, or a name is no Python name.
    """
    if not files:
        raise RasterError(f"no {kind} is given")
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


def open_raster(path: str, label: Label) -> Any:  # noqa: ANN401 - GDAL carries no types
    """Open a raster for reading.

    Raises
    ------
    RasterError
        With GDAL's reason, if it can't be opened.
    """
    dataset = None
    with listening() as heard:
        dataset = gdal().Open(path)
    if dataset is None:
        raise RasterError(f"input {label}: can't open {path}: {reason(heard, path)}")
    return dataset


def inspect(path: str, label: Label) -> Inspected:
    """Look at an input file.

    Raises
    ------
    RasterError
        If it can't be read, has no bands, or bands of a type that numpy lacks.
    """
    dataset = open_raster(path, label)
    with listening():
        transform = dataset.GetGeoTransform(can_return_null=True)
        projection = dataset.GetProjection()
        files = dataset.GetFileList()
        bands = [dataset.GetRasterBand(number + 1) for number in range(dataset.RasterCount)]
    if not bands:
        raise RasterError(f"input {label}: {path} has no raster bands of its own{_subdatasets(dataset)}")
    return Inspected(
        source=Source(
            label=label,
            path=path,
            nodata=tuple(_nodata(band) for band in bands),
            dtype=_common_type(bands, path, label),
        ),
        grid=Grid(
            columns=dataset.RasterXSize,
            rows=dataset.RasterYSize,
            transform=tuple(transform) if transform else None,
            projection=projection or "",
        ),
        files=tuple(files or ()),
    )


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


def _nodata(band: Any) -> Number | None:  # noqa: ANN401 - GDAL carries no types
    with listening():
        value: Number | None = band.GetNoDataValue()
        return value
    return None


def _common_type(bands: Sequence[Any], path: str, label: Label) -> str:
    """Return the smallest type that holds all bands; nearly always they are of one."""
    dtypes = []
    for band in bands:
        name = gdal().GetDataTypeName(band.DataType)
        dtype = numpy_type(name)
        if dtype is None:
            raise RasterError(f"input {label}: {path} has bands of the type {name}, which numpy does not have")
        dtypes.append(dtype)
    return np.result_type(*dtypes).name


def _subdatasets(dataset: Any) -> str:  # noqa: ANN401 - GDAL carries no types
    names = [name for name, _description in dataset.GetSubDatasets()]
    return f"; name one of its subdatasets: {', '.join(names)}" if names else ""

"""The plan of a computation: sources, output labels, tiling. Small, picklable, without GDAL."""

from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np

from asyncbatch.raster.dtypes import Number
from asyncbatch.raster.grid import Grid, Tiling

Edge = Literal["nodata", "nearest", "reflect"]
"""Content of margins beyond the raster's edge."""

EDGES: Final[tuple[Edge, ...]] = get_args(Edge)


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """The place of an array: the attribute's name, and the index in its list if it is a list."""

    name: str
    position: int | None = None
    """None if the name has a single file."""

    def __str__(self) -> str:
        return repr(self.name) if self.position is None else f"'{self.name}[{self.position}]'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """An input raster, for the user's function."""

    label: Label
    path: str
    """Path as main passed it."""
    location: str
    """Name for GDAL: a file's absolute path, so that main may change its working directory."""
    types: tuple[str, ...]
    """The name of the numpy type of each band's pixels."""
    nodata: tuple[Number | None, ...]
    """The nodata value of each band; None if the file declares none, or one that no pixel can have."""

    @property
    def bands(self) -> int:
        """Number of bands."""
        return len(self.types)

    @property
    def dtype(self) -> str:
        """Name of the arrays' type: the smallest common type of all bands."""
        return np.result_type(*self.types).name


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The data that all tiles of a computation share."""

    grid: Grid
    tiling: Tiling
    overlap: int
    """Margin in pixels on each side of a window."""
    edge: Edge = "nodata"
    """Content of margins beyond the raster's edge."""
    sources: tuple[Source, ...]
    outputs: tuple[Label, ...]

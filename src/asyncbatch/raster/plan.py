"""What is to be done, in plain values: sources, output labels, tiling. Small, picklable, free of GDAL."""

from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np

from asyncbatch.raster.dtypes import Number
from asyncbatch.raster.grid import Grid, Tiling

Edge = Literal["nodata", "nearest", "reflect"]
"""What margins hold beyond the raster's edge."""

EDGES: Final[tuple[Edge, ...]] = get_args(Edge)


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """Where an array hangs: the attribute's name, and the place in its list if it holds one."""

    name: str
    position: int | None = None
    """None where the name stands for a single file."""

    def __str__(self) -> str:
        return repr(self.name) if self.position is None else f"'{self.name}[{self.position}]'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """An input raster as the user's function needs to know it."""

    label: Label
    path: str
    """As main names it."""
    location: str
    """As GDAL is asked for it: a file's absolute path, which is the same in whatever folder main is later."""
    types: tuple[str, ...]
    """For each band, the name of the numpy type of its pixels."""
    nodata: tuple[Number | None, ...]
    """For each band, as its pixels have it; None if the file declares none, or one that no pixel can have."""

    @property
    def bands(self) -> int:
        """Number of bands."""
        return len(self.types)

    @property
    def dtype(self) -> str:
        """Name of the type the arrays have: the smallest for all bands; nearly always they are of one."""
        return np.result_type(*self.types).name


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that the tiles of one raster computation share."""

    grid: Grid
    tiling: Tiling
    overlap: int
    """Margin in pixels on every side of a window."""
    edge: Edge = "nodata"
    """What margins hold beyond the raster's edge."""
    sources: tuple[Source, ...]
    outputs: tuple[Label, ...]

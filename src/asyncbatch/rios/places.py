"""Describes the part of a raster that a tile of RIOS covers, for errors."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from asyncbatch.errors import TileError, TileLost


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A tile's place in one call of `apply`; the pool's index counts all its tiles."""

    tile: int
    """Index, from 0, row by row."""
    window: str
    """Window in pixels, without margins."""


def describe_info(info: Any) -> Place:
    """Return the place of a tile, from RIOS 1.4's `ReaderInfo`."""
    columns, rows = info.getBlockSize()
    width, height = info.getWindowSize()
    column, row = info.getBlockCount()
    across, _ = info.getTotalBlocks()
    return Place(tile=row * across + column, window=_window(column * width, row * height, columns, rows))


def describe_block(tile: int, block: Any) -> Place:
    """Return the place of RIOS 2's block with index `tile`."""
    return Place(tile=tile, window=_window(block.left, block.top, block.ncols, block.nrows))


def _window(left: int, top: int, columns: int, rows: int) -> str:
    return f"window x={left} y={top} {columns} x {rows} pixels"


@contextmanager
def name_block(place: Place) -> Iterator[None]:
    """Add the place to an error of a tile."""
    try:
        yield
    except (TileError, TileLost) as error:
        error.tile, error.place = place.tile, place.window
        raise

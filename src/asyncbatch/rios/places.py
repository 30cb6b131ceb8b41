"""What a tile of RIOS covers, for people: for its errors."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from asyncbatch.errors import TileError, TileLost


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A tile's place in one call of `apply`; a pool counts its tiles over its whole life."""

    tile: int
    """Index, from 0, row by row."""
    window: str
    """In pixels, without the margins."""


def of_info(info: Any) -> Place:
    """Return the place of a tile that RIOS 1.4's `ReaderInfo` describes."""
    columns, rows = info.getBlockSize()
    width, height = info.getWindowSize()
    column, row = info.getBlockCount()
    across, _ = info.getTotalBlocks()
    return Place(tile=row * across + column, window=_window(column * width, row * height, columns, rows))


def of_block(tile: int, block: Any) -> Place:
    """Return the place of RIOS 2's block of index `tile`."""
    return Place(tile=tile, window=_window(block.left, block.top, block.ncols, block.nrows))


def _window(left: int, top: int, columns: int, rows: int) -> str:
    return f"window x={left} y={top} {columns} x {rows} pixels"


@contextmanager
def name_block(place: Place) -> Iterator[None]:
    """Name the place in an error of a tile."""
    try:
        yield
    except (TileError, TileLost) as error:
        error.tile, error.place = place.tile, place.window
        raise

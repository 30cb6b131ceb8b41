"""Geometry: a raster's grid, its windows, and its tiling. Does no I/O."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, hypot

Transform = tuple[float, float, float, float, float, float]
"""GDAL's geotransform: x = t[0] + column t[1] + row t[2], y = t[3] + column t[4] + row t[5]."""

PLAIN: Transform = (0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
"""GDAL's default geotransform, for a raster without one: pixel coordinates."""

TOLERANCE = 0.01
"""Maximum offset in pixels between two grids that are considered equal."""


def format_size(columns: int, rows: int) -> str:
    """Format a size for messages."""
    return f"{columns}×{rows} pixels"  # noqa: RUF001 - the multiplication sign


def locate(transform: Transform, column: float, row: float) -> tuple[float, float]:
    """Return the world coordinates of a position in pixels."""
    return (
        transform[0] + column * transform[1] + row * transform[2],
        transform[3] + column * transform[4] + row * transform[5],
    )


def place(transform: Transform, x: float, y: float) -> tuple[float, float]:
    """Return the fractional column and row of a position in world coordinates.

    Raises
    ------
    ZeroDivisionError
        If the transform is not invertible.
    """
    determinant = transform[1] * transform[5] - transform[2] * transform[4]
    east, north = x - transform[0], y - transform[3]
    column = (east * transform[5] - north * transform[2]) / determinant
    row = (north * transform[1] - east * transform[4]) / determinant
    return column, row


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A rectangle of pixels, which may extend beyond the raster."""

    x: int
    """Leftmost column."""
    y: int
    """Topmost row."""
    columns: int
    rows: int

    def __str__(self) -> str:
        return f"window x={self.x} y={self.y} {format_size(self.columns, self.rows)}"

    def grow(self, margin: int) -> "Window":
        """Return the window with `margin` more pixels on every side."""
        return Window(
            x=self.x - margin,
            y=self.y - margin,
            columns=self.columns + 2 * margin,
            rows=self.rows + 2 * margin,
        )

    def clip(self, columns: int, rows: int) -> "Window":
        """Return the part inside a raster of this size."""
        left, top = max(self.x, 0), max(self.y, 0)
        right, bottom = min(self.x + self.columns, columns), min(self.y + self.rows, rows)
        return Window(x=left, y=top, columns=right - left, rows=bottom - top)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiling:
    """Equal square windows over a raster, row by row; those at the right and lower edge are smaller."""

    columns: int
    rows: int
    window: int
    """Size of a full window in pixels."""

    @property
    def across(self) -> int:
        """Number of tiles in a row."""
        return ceil(self.columns / self.window)

    @property
    def down(self) -> int:
        """Number of tiles in a column."""
        return ceil(self.rows / self.window)

    def __len__(self) -> int:
        return self.across * self.down

    def __getitem__(self, tile: int) -> Window:
        if not 0 <= tile < len(self):
            raise IndexError(f"no tile {tile} among {len(self)}")
        down, across = divmod(tile, self.across)
        x, y = across * self.window, down * self.window
        return Window(x=x, y=y, columns=min(self.window, self.columns - x), rows=min(self.window, self.rows - y))

    def __iter__(self) -> Iterator[Window]:
        return (self[tile] for tile in range(len(self)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Size and georeferencing of a raster."""

    columns: int
    rows: int
    transform: Transform | None
    """None if the raster has no geotransform."""
    projection: str
    """WKT; empty if the raster has no projection."""

    def __str__(self) -> str:
        size = format_size(self.columns, self.rows)
        if self.transform is None:
            return f"{size}, no geotransform, {self.projection_name}"
        numbers = ", ".join(f"{number:.12g}" for number in self.transform)
        return f"{size}, geotransform ({numbers}), {self.projection_name}"

    @property
    def effective_transform(self) -> Transform:
        """The geotransform, or GDAL's default."""
        return self.transform or PLAIN

    @property
    def projection_name(self) -> str:
        """The projection's name: the first name in its WKT."""
        name = re.search(r'"([^"]*)"', self.projection)
        return f"projection {name[1]!r}" if name else "no projection"

    @property
    def pixel_size(self) -> tuple[float, float]:
        """Width and height of a pixel in world units, both positive."""
        transform = self.effective_transform
        return hypot(transform[1], transform[4]), hypot(transform[2], transform[5])

    def measure_offset(self, other: "Grid") -> float:
        """Return the maximum offset between this grid's corners and the other's, in pixels of the other.

        The offset between two affine grids is largest at a corner.
        """
        mine, theirs = self.effective_transform, other.effective_transform
        if mine == theirs:
            return 0.0
        offsets = []
        for column in (0, self.columns):
            for row in (0, self.rows):
                try:
                    there = place(theirs, *locate(mine, column, row))
                except ZeroDivisionError:
                    return float("inf")
                offsets += [abs(there[0] - column), abs(there[1] - row)]
        return max(offsets)


def describe_difference(grid: Grid, other: Grid, *, same_projection: bool) -> str | None:
    """Describe the difference between two grids in a few words; None if they are equal."""
    if (grid.columns, grid.rows) != (other.columns, other.rows):
        return "the sizes differ"
    if not same_projection:
        return "the projections differ"
    offset = other.measure_offset(grid)
    if not offset <= TOLERANCE:
        return f"the pixels are up to {offset:.3g} pixels apart"
    return None

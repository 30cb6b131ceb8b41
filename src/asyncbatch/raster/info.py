# ruff: noqa: N802 - names are RIOS's
"""Information about the current block, for the user's function."""

from collections.abc import Sequence
from math import floor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asyncbatch.errors import RasterError
from asyncbatch.raster.dtypes import Array
from asyncbatch.raster.grid import Transform, Window, locate, place
from asyncbatch.raster.plan import Plan, Source


class Coord(NamedTuple):
    """A position in world coordinates."""

    x: float
    y: float


class BlockInfo:
    """The first argument of a user's function.

    Methods and attributes have the same names and meanings as in RIOS's ``ReaderInfo``, so that functions work
    unchanged with both. Members that RIOS uses internally, or that need an open GDAL dataset, are missing.

    Attributes
    ----------
    xblock, yblock : int
        Column and row of this block in the grid of blocks, from 0.
    xtotalblocks, ytotalblocks : int
        Numbers of columns and rows in the grid of blocks.
    xsize, ysize : int
        Size of the raster in pixels.
    blockwidth, blockheight : int
        Size of this block in pixels, without margins.
    windowxsize, windowysize : int
        Size of a full block in pixels, without margins.
    overlap : int
        Margin in pixels on every side of the block.
    blocktl, blockbr : Coord
        World coordinates of the block's outer corners, top left and bottom right, without margins.
    """

    def __init__(self, plan: Plan, window: Window, arrays: Sequence[Array]) -> None:
        tiling = plan.tiling
        self.windowxsize = self.windowysize = tiling.window
        self.overlap = plan.overlap
        self.xsize, self.ysize = tiling.columns, tiling.rows
        self.xtotalblocks, self.ytotalblocks = tiling.across, tiling.down
        self.xblock, self.yblock = window.x // tiling.window, window.y // tiling.window
        self.blockwidth, self.blockheight = window.columns, window.rows
        transform = plan.grid.effective_transform
        self.blocktl = Coord(*locate(transform, window.x, window.y))
        self.blockbr = Coord(*locate(transform, window.x + window.columns, window.y + window.rows))
        self._window = window
        self._grid = plan.grid
        self._sources = plan.sources
        self._arrays = tuple(arrays)

    def __getstate__(self) -> dict[str, object]:
        """Exclude the arrays, which are large, and whose copies would not be the function's own arrays."""
        return self.__dict__ | {"_arrays": ()}

    def getWindowSize(self) -> tuple[int, int]:
        """Return columns and rows of a full block, without margins."""
        return self.windowxsize, self.windowysize

    def getOverlapSize(self) -> int:
        """Return the margin in pixels on every side of the block."""
        return self.overlap

    def getTotalSize(self) -> tuple[int, int]:
        """Return columns and rows of the raster."""
        return self.xsize, self.ysize

    def getTransform(self) -> Transform:
        """Return the raster's geotransform, as GDAL defines it."""
        return self._grid.effective_transform

    def getProjection(self) -> str:
        """Return the raster's projection as WKT; empty if it has none."""
        return self._grid.projection

    def getTotalBlocks(self) -> tuple[int, int]:
        """Return the numbers of columns and rows in the grid of blocks."""
        return self.xtotalblocks, self.ytotalblocks

    def getBlockSize(self) -> tuple[int, int]:
        """Return columns and rows of this block, without margins; smaller than a window at the raster's edge."""
        return self.blockwidth, self.blockheight

    def getBlockCount(self) -> tuple[int, int]:
        """Return column and row of this block in the grid of blocks, from 0."""
        return self.xblock, self.yblock

    def getPixelSize(self) -> tuple[float, float]:
        """Return width and height of a pixel in world units, both positive."""
        return self._grid.pixel_size

    def getBlockCoordArrays(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the world coordinates of every pixel's centre.

        Returns
        -------
        x, y : ndarray of float64, shape (rows, columns)
            Coordinates with the size of the block's arrays, including margins.
        """
        transform = self._grid.effective_transform
        reach = self._window.grow(self.overlap)
        rows, columns = np.mgrid[0 : reach.rows, 0 : reach.columns]
        return (
            locate_all(transform[:3], columns + (reach.x + 0.5), rows + (reach.y + 0.5)),
            locate_all(transform[3:], columns + (reach.x + 0.5), rows + (reach.y + 0.5)),
        )

    def getPixRowColBlock(self, x: float, y: float) -> tuple[int, int] | tuple[None, None]:
        """Return row and column in the block's arrays of the pixel at world coordinates.

        Both are None if the pixel is outside the block and its margins.
        """
        reach = self._window.grow(self.overlap)
        column, row = (floor(number) for number in place(self._grid.effective_transform, x, y))
        column, row = column - reach.x, row - reach.y
        if 0 <= column < reach.columns and 0 <= row < reach.rows:
            return row, column
        return None, None

    def getPixColRow(self, x: int, y: int) -> tuple[int, int]:
        """Return column and row in the raster of the pixel at column `x` and row `y` of the block.

        As in RIOS, positions in the block do not include margins.
        """
        return self._window.x + x, self._window.y + y

    def isFirstBlock(self) -> bool:
        """Return whether this is the block at the top left."""
        return self.xblock == 0 and self.yblock == 0

    def isLastBlock(self) -> bool:
        """Return whether this is the block at the bottom right; it is not necessarily computed last."""
        return self.xblock == self.xtotalblocks - 1 and self.yblock == self.ytotalblocks - 1

    def getPercent(self) -> int:
        """Return the percentage of blocks before this block."""
        return 100 * (self.yblock * self.xtotalblocks + self.xblock) // (self.xtotalblocks * self.ytotalblocks)

    def getFilenameFor(self, block: Array) -> str:
        """Return the path of the file that an array of `inputs` was read from, as main passed it.

        Raises
        ------
        RasterError
            If `block` is not one of the function's input arrays, but a copy or a slice.
        """
        return self._find_source(block).path

    def getNoDataValueFor(self, block: Array, band: int = 1) -> Array | None:
        """Return the nodata value of the file that an array of `inputs` was read from.

        Parameters
        ----------
        block : ndarray
            The array itself, such as ``inputs.image``.
        band : int
            Number of the band, from 1 as in GDAL.

        Returns
        -------
        ndarray of shape () and the block's dtype, or None
            None if the file declares none, or one that no pixel of its type can have.

        Raises
        ------
        RasterError
            If `block` is not one of the function's input arrays, or has no such band.
        """
        source = self._find_source(block)
        if not 1 <= band <= source.bands:
            raise RasterError(f"input {source.label} has no band {band}, only bands 1 to {source.bands}")
        value = source.nodata[band - 1]
        return None if value is None else np.asarray(value, block.dtype)

    def _find_source(self, block: Array) -> Source:
        for source, array in zip(self._sources, self._arrays, strict=False):
            if array is block:
                return source
        raise RasterError("pass an input array itself, such as inputs.image, not a copy or a slice")


def locate_all(row_of_transform: Sequence[float], columns: Array, rows: Array) -> NDArray[np.float64]:
    """Apply one row of a geotransform to arrays of columns and rows."""
    origin, per_column, per_row = row_of_transform
    result: NDArray[np.float64] = origin + columns * per_column + rows * per_row
    return result

# ruff: noqa: N802 - these are the names RIOS's users know
"""What a user's function may ask about the block it computes."""

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
    """A place in world coordinates."""

    x: float
    y: float


class BlockInfo:
    """The first argument of a user's function.

    Methods and attributes are named, and mean, what they do on RIOS's ``ReaderInfo``, so that a function moves
    between the two unchanged. What RIOS keeps for its own use, and what would need an open GDAL dataset, is left out.

    Attributes
    ----------
    xblock, yblock : int
        Which block this is, across and down, from 0.
    xtotalblocks, ytotalblocks : int
        Blocks in the raster, across and down.
    xsize, ysize : int
        Size of the raster in pixels.
    blockwidth, blockheight : int
        Size of this block in pixels, without the margins.
    windowxsize, windowysize : int
        Size of a full block in pixels, without the margins.
    overlap : int
        Margin in pixels on every side of the block.
    blocktl, blockbr : Coord
        World coordinates of the block's outer corners, top left and bottom right, without the margins.
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
        """Leave the arrays behind: they are large, and a copy of them would no longer be the function's own."""
        return self.__dict__ | {"_arrays": ()}

    def getWindowSize(self) -> tuple[int, int]:
        """Return columns and rows of a full block, without the margins."""
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
        """Return how many blocks the raster has, across and down."""
        return self.xtotalblocks, self.ytotalblocks

    def getBlockSize(self) -> tuple[int, int]:
        """Return columns and rows of this block, without the margins; smaller than a window at the raster's edge."""
        return self.blockwidth, self.blockheight

    def getBlockCount(self) -> tuple[int, int]:
        """Return which block this is, across and down, from 0."""
        return self.xblock, self.yblock

    def getPixelSize(self) -> tuple[float, float]:
        """Return width and height of a pixel in world units, both positive."""
        return self._grid.pixel_size

    def getBlockCoordArrays(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the world coordinates of every pixel's centre.

        Returns
        -------
        x, y : ndarray of float64, shape (rows, columns)
            As large as the block's arrays, so with the margins.
        """
        transform = self._grid.effective_transform
        reach = self._window.grown(self.overlap)
        rows, columns = np.mgrid[0 : reach.rows, 0 : reach.columns]
        return (
            locate_all(transform[:3], columns + (reach.x + 0.5), rows + (reach.y + 0.5)),
            locate_all(transform[3:], columns + (reach.x + 0.5), rows + (reach.y + 0.5)),
        )

    def getPixRowColBlock(self, x: float, y: float) -> tuple[int, int] | tuple[None, None]:
        """Return row and column, in the block's arrays, of the pixel at world coordinates.

        Both are None if the pixel is outside the block and its margins.
        """
        reach = self._window.grown(self.overlap)
        column, row = (floor(number) for number in place(self._grid.effective_transform, x, y))
        column, row = column - reach.x, row - reach.y
        if 0 <= column < reach.columns and 0 <= row < reach.rows:
            return row, column
        return None, None

    def getPixColRow(self, x: int, y: int) -> tuple[int, int]:
        """Return column and row, in the raster, of the pixel at column `x` and row `y` of the block.

        As in RIOS, the block is counted without its margins.
        """
        return self._window.x + x, self._window.y + y

    def isFirstBlock(self) -> bool:
        """Tell whether this is the block at the top left."""
        return self.xblock == 0 and self.yblock == 0

    def isLastBlock(self) -> bool:
        """Tell whether this is the block at the bottom right; it need not be computed last."""
        return self.xblock == self.xtotalblocks - 1 and self.yblock == self.ytotalblocks - 1

    def getPercent(self) -> int:
        """Return how much of the raster lies before this block, in percent."""
        return 100 * (self.yblock * self.xtotalblocks + self.xblock) // (self.xtotalblocks * self.ytotalblocks)

    def getFilenameFor(self, block: Array) -> str:
        """Return the path of the file that an array of `inputs` was read from, as main names it.

        Raises
        ------
        RasterError
            If `block` is not one of the function's input arrays, but a copy or a part of one.
        """
        return self._source(block).path

    def getNoDataValueFor(self, block: Array, band: int = 1) -> Array | None:
        """Return the nodata value of the file that an array of `inputs` was read from.

        Parameters
        ----------
        block : ndarray
            The array itself, for instance ``inputs.image``.
        band : int
            Counted from 1, as GDAL does.

        Returns
        -------
        ndarray of shape () and the block's dtype, or None
            None if the file declares no value, or one that no pixel of its type can have.

        Raises
        ------
        RasterError
            If `block` is not one of the function's input arrays, or has no such band.
        """
        source = self._source(block)
        if not 1 <= band <= source.bands:
            raise RasterError(f"input {source.label} has bands 1 to {source.bands}, and no band {band}")
        value = source.nodata[band - 1]
        return None if value is None else np.asarray(value, block.dtype)

    def _source(self, block: Array) -> Source:
        for source, array in zip(self._sources, self._arrays, strict=False):
            if array is block:
                return source
        raise RasterError("info knows only the input arrays themselves, for instance inputs.image, not copies or parts")


def locate_all(row_of_transform: Sequence[float], columns: Array, rows: Array) -> NDArray[np.float64]:
    """Apply one half of a geotransform to arrays of columns and rows."""
    origin, per_column, per_row = row_of_transform
    result: NDArray[np.float64] = origin + columns * per_column + rows * per_row
    return result

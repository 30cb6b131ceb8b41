"""Reads blocks ahead of the computation, in a thread of its own."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

import numpy as np

from asyncbatch.errors import RasterError
from asyncbatch.raster.bindings import gdal, listening, reason
from asyncbatch.raster.blocks import Block
from asyncbatch.raster.dtypes import Array, fitted, gdal_name
from asyncbatch.raster.grid import Window
from asyncbatch.raster.plan import Plan, Source
from asyncbatch.raster.sources import open_raster

AHEAD = 2
"""Blocks read before they are asked for: one is ready while the next is being read."""


class Reader:
    """The blocks of a plan's sources, tile by tile.

    A context manager: no thread and no open file is left behind it.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        # GDAL's handles are not to be shared between threads: these belong to the reader's.
        self._datasets: list[Any] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="asyncbatch-reader")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._datasets.clear()

    def __iter__(self) -> Iterator[Block]:
        """Yield the block of each tile, in order; hold at most `AHEAD` more."""
        coming: deque[Future[Block]] = deque()
        for tile in range(len(self._plan.tiling)):
            coming.append(self._thread.submit(self._read, tile))
            if len(coming) > AHEAD:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()

    def _read(self, tile: int) -> Block:
        if not self._datasets:
            self._datasets = [open_raster(source.path, source.label) for source in self._plan.sources]
        window = self._plan.tiling[tile]
        reach = window.grown(self._plan.overlap)
        arrays = zip(self._plan.sources, self._datasets, strict=True)
        return Block(
            tile=tile,
            window=window,
            arrays=tuple(read_window(dataset, source, reach) for source, dataset in arrays),
        )


def read_window(dataset: Any, source: Source, reach: Window) -> Array:  # noqa: ANN401 - GDAL carries no types
    """Read all bands in a window that may reach beyond the raster.

    Returns
    -------
    ndarray, shape (bands, rows, columns)
        Beyond the raster's edge filled, as RIOS does it, with each band's nodata value, or 0 if it has none.

    Raises
    ------
    RasterError
        With GDAL's reason, if the file can't be read there.
    """
    inside = reach.clipped(dataset.RasterXSize, dataset.RasterYSize)
    array = np.empty((source.bands, inside.rows, inside.columns), np.dtype(source.dtype))
    done = None
    with listening() as heard:
        done = dataset.ReadRaster(
            inside.x,
            inside.y,
            inside.columns,
            inside.rows,
            buf_type=gdal().GetDataTypeByName(gdal_name(array.dtype)),
            buf_obj=array,
        )
    if done is None:
        raise RasterError(f"input {source.label}: can't read {source.path} in {inside}: {reason(heard, source.path)}")
    if inside == reach:
        return array
    return filled_around(array, source, inside, reach)


def filled_around(array: Array, source: Source, inside: Window, reach: Window) -> Array:
    """Lay an array that covers `inside` into a larger one that covers `reach`."""
    whole = np.zeros((source.bands, reach.rows, reach.columns), array.dtype)
    for band, declared in zip(whole, source.nodata, strict=True):
        band.fill(0 if declared is None else fitted(declared, array.dtype) or 0)
    left, top = inside.x - reach.x, inside.y - reach.y
    whole[:, top : top + inside.rows, left : left + inside.columns] = array
    return whole

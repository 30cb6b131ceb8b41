"""Reads blocks ahead of the computation, in a thread of its own."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np

from asyncbatch.errors import RasterError
from asyncbatch.raster.bindings import listening, reason
from asyncbatch.raster.blocks import Block
from asyncbatch.raster.dtypes import Array, find_inexact
from asyncbatch.raster.grid import Grid, Window, extent
from asyncbatch.raster.plan import Edge, Plan, Source
from asyncbatch.raster.sources import open_raster, read_types
from asyncbatch.raster.stored import buffer_type

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
            self._datasets = [open_again(source, self._plan.grid) for source in self._plan.sources]
        window = self._plan.tiling[tile]
        reach = window.grown(self._plan.overlap)
        arrays = zip(self._plan.sources, self._datasets, strict=True)
        return Block(
            tile=tile,
            window=window,
            arrays=tuple(read_window(dataset, source, reach, self._plan.edge) for source, dataset in arrays),
        )


def open_again(source: Source, grid: Grid) -> Any:  # noqa: ANN401 - GDAL carries no types
    """Open a source that has been inspected.

    Raises
    ------
    RasterError
        If it can't be opened, or another file has taken its place: GDAL would cut its values to the types expected.
    """
    dataset = open_raster(source.location, source.path, source.label)
    types = read_types(dataset, source.path, source.label)
    if (types, dataset.RasterXSize, dataset.RasterYSize) != (source.types, grid.columns, grid.rows):
        raise RasterError(
            f"input {source.label}: {source.path} has changed since the computation began: its bands were of "
            f"{', '.join(source.types)} and {extent(grid.columns, grid.rows)}, and are of {', '.join(types)} and "
            f"{extent(dataset.RasterXSize, dataset.RasterYSize)}"
        )
    return dataset


def read_window(dataset: Any, source: Source, reach: Window, edge: Edge) -> Array:  # noqa: ANN401 - GDAL carries no types
    """Read all bands in a window that may reach beyond the raster.

    Returns
    -------
    ndarray, shape (bands, rows, columns)
        Beyond the raster's edge filled as `edge` says.

    Raises
    ------
    RasterError
        With GDAL's reason, if the file can't be read there, or if a value is none of the arrays' type.
    """
    inside = reach.clipped(dataset.RasterXSize, dataset.RasterYSize)
    bands = {number: dataset.GetRasterBand(number) for number in range(1, source.bands + 1)}
    runs = [
        read_bands(dataset, source, [*numbers], inside)
        for _kind, numbers in groupby(bands, lambda number: (source.types[number - 1], bands[number].DataType))
    ]
    # Only now to one type, by numpy: GDAL's own conversion rounds, cuts, and takes signed bytes for unsigned.
    array = runs[0] if len(runs) == 1 else np.concatenate(runs, dtype=np.dtype(source.dtype))
    if inside == reach:
        return array
    return fill_around(array, source, inside, reach, edge)


def read_bands(dataset: Any, source: Source, numbers: list[int], inside: Window) -> Array:  # noqa: ANN401 - as above
    """Read bands of one type, and make sure that the arrays' type holds their values."""
    dtype = np.dtype(source.types[numbers[0] - 1])
    array = np.empty((len(numbers), inside.rows, inside.columns), dtype)
    done = None
    with listening() as heard:
        done = dataset.ReadRaster(
            inside.x,
            inside.y,
            inside.columns,
            inside.rows,
            buf_type=buffer_type(dataset.GetRasterBand(numbers[0]), dtype),
            band_list=numbers,
            buf_obj=array,
        )
    if done is None:
        raise RasterError(
            f"input {source.label}: can't read {source.path} in {inside}: {reason(heard, source.location)}"
        )
    for number, values in zip(numbers, array, strict=True):
        inexact = find_inexact(values, np.dtype(source.dtype))
        if inexact is not None:
            raise RasterError(
                f"input {source.label}: {source.path} band {number} is of {dtype} and has the value {inexact}, which "
                f"{source.dtype}, the common type of all its bands ({', '.join(source.types)}), can't hold, in "
                f"{inside}; make a raster of each type, and pass each as an input"
            )
    return array


def fill_around(array: Array, source: Source, inside: Window, reach: Window, edge: Edge) -> Array:
    """Return an array that covers `reach`, from one that covers the part of it inside the raster."""
    left, top = inside.x - reach.x, inside.y - reach.y
    right, bottom = reach.columns - inside.columns - left, reach.rows - inside.rows - top
    # What is reflected is all there: a margin reaches as far inside as outside, or else the whole raster is inside.
    mode: Literal["edge", "symmetric"] = "symmetric" if edge == "reflect" else "edge"
    whole = np.pad(array, ((0, 0), (top, bottom), (left, right)), mode=mode)
    if edge != "nodata":
        return whole
    for band, values, declared in zip(whole, array, source.nodata, strict=True):
        if declared is not None:
            band.fill(declared)
            band[top : top + inside.rows, left : left + inside.columns] = values
    return whole

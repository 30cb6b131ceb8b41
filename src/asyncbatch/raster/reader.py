"""Reads blocks ahead of the computation, in a separate thread."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np

from asyncbatch.errors import RasterError
from asyncbatch.raster.bindings import collect_errors, format_reason
from asyncbatch.raster.blocks import Block
from asyncbatch.raster.dtypes import Array, find_inexact
from asyncbatch.raster.grid import Grid, Window, format_size
from asyncbatch.raster.plan import Edge, Plan, Source
from asyncbatch.raster.sources import open_raster, read_types
from asyncbatch.raster.stored import get_buffer_type

AHEAD = 2
"""Number of blocks to read ahead: one is ready while the next is being read."""


class Reader:
    """Reads the blocks of a plan's sources, tile by tile.

    A context manager, which ends its thread and closes its files.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        # GDAL's handles must not be shared between threads: these belong to the reader's thread.
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
        """Yield the blocks in order; read at most `AHEAD` blocks ahead."""
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
        reach = window.grow(self._plan.overlap)
        arrays = zip(self._plan.sources, self._datasets, strict=True)
        return Block(
            tile=tile,
            window=window,
            arrays=tuple(read_window(dataset, source, reach, self._plan.edge) for source, dataset in arrays),
        )


def open_again(source: Source, grid: Grid) -> Any:  # noqa: ANN401 - GDAL has no types
    """Open a source that has been inspected.

    Raises
    ------
    RasterError
        If it can't be opened, or another file has replaced it, whose values GDAL would clip to the expected types.
    """
    dataset = open_raster(source.location, source.path, source.label)
    types = read_types(dataset, source.path, source.label)
    if (types, dataset.RasterXSize, dataset.RasterYSize) != (source.types, grid.columns, grid.rows):
        raise RasterError(
            f"input {source.label}: {source.path} has changed since the computation began: it had bands of type "
            f"{', '.join(source.types)} with {format_size(grid.columns, grid.rows)}, and now has {', '.join(types)} "
            f"with {format_size(dataset.RasterXSize, dataset.RasterYSize)}"
        )
    return dataset


def read_window(dataset: Any, source: Source, reach: Window, edge: Edge) -> Array:  # noqa: ANN401 - GDAL carries no types
    """Read all bands in a window that may extend beyond the raster.

    Returns
    -------
    ndarray, shape (bands, rows, columns)
        Pixels beyond the raster's edge are filled according to `edge`.

    Raises
    ------
    RasterError
        If the file can't be read, with GDAL's reason, or the arrays' type can't represent a value.
    """
    inside = reach.clip(dataset.RasterXSize, dataset.RasterYSize)
    bands = {number: dataset.GetRasterBand(number) for number in range(1, source.bands + 1)}
    runs = [
        read_bands(dataset, source, [*numbers], inside)
        for _kind, numbers in groupby(bands, lambda number: (source.types[number - 1], bands[number].DataType))
    ]
    # Converted by numpy, since GDAL's conversion rounds, clips, and treats signed bytes as unsigned.
    array = runs[0] if len(runs) == 1 else np.concatenate(runs, dtype=np.dtype(source.dtype))
    if inside == reach:
        return array
    return fill_around(array, source, inside, reach, edge)


def read_bands(dataset: Any, source: Source, numbers: list[int], inside: Window) -> Array:  # noqa: ANN401 - GDAL has no types
    """Read bands of one type, and check that the arrays' type can represent their values."""
    dtype = np.dtype(source.types[numbers[0] - 1])
    array = np.empty((len(numbers), inside.rows, inside.columns), dtype)
    done = None
    with collect_errors() as heard:
        done = dataset.ReadRaster(
            inside.x,
            inside.y,
            inside.columns,
            inside.rows,
            buf_type=get_buffer_type(dataset.GetRasterBand(numbers[0]), dtype),
            band_list=numbers,
            buf_obj=array,
        )
    if done is None:
        raise RasterError(
            f"input {source.label}: can't read {source.path} in {inside}: {format_reason(heard, source.location)}"
        )
    for number, values in zip(numbers, array, strict=True):
        inexact = find_inexact(values, np.dtype(source.dtype))
        if inexact is not None:
            raise RasterError(
                f"input {source.label}: {source.path} band {number} has type {dtype} and the value {inexact} in "
                f"{inside}, which {source.dtype}, the common type of all its bands ({', '.join(source.types)}), can't "
                "represent; create a raster for each type, and pass each as an input"
            )
    return array


def fill_around(array: Array, source: Source, inside: Window, reach: Window, edge: Edge) -> Array:
    """Extend an array that covers the part of `reach` inside the raster to all of `reach`."""
    left, top = inside.x - reach.x, inside.y - reach.y
    right, bottom = reach.columns - inside.columns - left, reach.rows - inside.rows - top
    # All reflected pixels exist: the margin inside is as wide as that outside, or the whole raster is inside.
    mode: Literal["edge", "symmetric"] = "symmetric" if edge == "reflect" else "edge"
    whole = np.pad(array, ((0, 0), (top, bottom), (left, right)), mode=mode)
    if edge != "nodata":
        return whole
    for band, values, declared in zip(whole, array, source.nodata, strict=True):
        if declared is not None:
            band.fill(declared)
            band[top : top + inside.rows, left : left + inside.columns] = values
    return whole

"""One output file: created at the first result, written tile by tile, closed and looked at again."""

from typing import Any

import numpy as np

from asyncbatch.errors import OutputError, RasterError
from asyncbatch.raster.bindings import gdal, listening, reason
from asyncbatch.raster.dtypes import Array, Number, fitted, gdal_name
from asyncbatch.raster.grid import Grid, Window, extent
from asyncbatch.raster.staging import Staging
from asyncbatch.raster.targets import Target


class OutputFile:
    """A raster that grows in its staging folder.

    All calls after the constructor's must come from one thread: GDAL's handles are not to be shared.

    Raises
    ------
    RasterError
        If the staging folder can't be made.
    """

    def __init__(self, target: Target, grid: Grid) -> None:
        self._target = target
        self._grid = grid
        self._staging = Staging(target.path)
        self._dataset: Any = None
        self._bands = 0
        self._dtype = np.dtype(np.uint8)

    def write(self, tile: int, window: Window, array: Array) -> None:
        """Write the result of one tile.

        Raises
        ------
        OutputError
            If its bands or its type don't go with the first tile's.
        RasterError
            With GDAL's reason, if it can't be written.
        """
        if self._dataset is None:
            self._create(array)
        self._refuse_unlike(tile, window, array)
        status = None
        with listening() as heard:
            status = self._dataset.WriteRaster(
                window.x,
                window.y,
                window.columns,
                window.rows,
                np.ascontiguousarray(array, self._dtype),
                buf_type=self._gdal_type(),
            )
        if status != gdal().CE_None or heard:
            raise self._failure(heard)

    def close(self) -> None:
        """Write what GDAL still holds back, and make sure that the file is what it should be.

        Raises
        ------
        RasterError
            With GDAL's reason: much of what goes wrong in writing shows only here.
        """
        with listening() as heard:
            # Before 3.8 there is no Close: the file is closed when the last reference goes.
            dataset, self._dataset = self._dataset, None
            dataset.FlushCache()
            if hasattr(dataset, "Close"):
                dataset.Close()
            del dataset
        if heard:
            raise self._failure(heard)
        self._staging.secure()
        self._verify()

    def publish(self) -> None:
        """Move the file to its final name."""
        self._staging.publish()

    def discard(self) -> None:
        """Close and delete whatever there is."""
        if self._dataset is not None:
            with listening():
                self._dataset = None
        self._staging.remove()

    def _create(self, array: Array) -> None:
        self._bands, self._dtype = array.shape[0], array.dtype
        nodata = self._nodata()
        if self._gdal_type() == gdal().GDT_Unknown:
            raise OutputError(
                f"output {self._target.label}: this GDAL, {gdal().__version__}, has no type for {self._dtype}"
            )
        dataset = None
        with listening() as heard:
            dataset = (
                gdal()
                .GetDriverByName(self._target.format.driver)
                .Create(
                    str(self._staging.path),
                    self._grid.columns,
                    self._grid.rows,
                    self._bands,
                    self._gdal_type(),
                    list(self._target.format.options),
                )
            )
            if dataset is not None:
                self._describe(dataset, nodata)
        if dataset is None or heard:
            raise self._failure(heard)
        self._dataset = dataset

    def _describe(self, dataset: Any, nodata: Number | None) -> None:  # noqa: ANN401 - GDAL carries no types
        if self._grid.transform is not None:
            dataset.SetGeoTransform(self._grid.transform)
        if self._grid.projection:
            dataset.SetProjection(self._grid.projection)
        if nodata is not None:
            for band in range(self._bands):
                dataset.GetRasterBand(band + 1).SetNoDataValue(nodata)

    def _nodata(self) -> Number | None:
        wanted = self._target.nodata
        if wanted is None:
            return None
        nodata = fitted(wanted, self._dtype)
        if nodata is None:
            raise OutputError(
                f"output {self._target.label}: no pixel of type {self._dtype} can have the nodata value {wanted}"
            )
        return nodata

    def _refuse_unlike(self, tile: int, window: Window, array: Array) -> None:
        where = f"tile {tile} ({window}): output {self._target.label}"
        if array.shape[0] != self._bands:
            raise OutputError(f"{where} has {array.shape[0]} bands; the first tile's {self._bands} are in the file")
        if not np.can_cast(array.dtype, self._dtype, "safe"):
            raise OutputError(
                f"{where} is of type {array.dtype}; the first tile's {self._dtype}, which is the file's, can't hold "
                "that safely; let the function return one type, with astype"
            )

    def _verify(self) -> None:
        dataset = None
        with listening() as heard:
            dataset = gdal().Open(str(self._staging.path))
        if dataset is None:
            raise self._failure(heard)
        wanted = (self._grid.columns, self._grid.rows, self._bands, gdal_name(self._dtype))
        kind = gdal().GetDataTypeName(dataset.GetRasterBand(1).DataType) if dataset.RasterCount else "nothing"
        got = (dataset.RasterXSize, dataset.RasterYSize, dataset.RasterCount, kind)
        if got != wanted:
            raise RasterError(
                f"output {self._target.label}: {self._target.path} came out as {_described(*got)}; "
                f"wanted {_described(*wanted)}; format {self._target.format.driver} may not be able to hold that"
            )

    def _gdal_type(self) -> int:
        return int(gdal().GetDataTypeByName(gdal_name(self._dtype)))

    def _failure(self, heard: list[str]) -> RasterError:
        path = self._target.path
        why = reason(heard, str(self._staging.path))
        return RasterError(f"output {self._target.label}: can't write {path}: {why}{self._staging.room()}")


def _described(columns: int, rows: int, bands: int, kind: str | None) -> str:
    return f"{extent(columns, rows)} with {bands} bands of {kind}"

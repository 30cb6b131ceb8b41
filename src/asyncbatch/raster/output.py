"""One output file: created at the first result, written tile by tile, closed and looked at again."""

from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager
from typing import Any
from zlib import crc32

import numpy as np

from asyncbatch.errors import OutputError, RasterError
from asyncbatch.raster.bindings import gdal, listening, reason
from asyncbatch.raster.dtypes import Array, Number, find_inexact, fitted
from asyncbatch.raster.formats import EXACT, merged
from asyncbatch.raster.grid import Grid, Window, extent
from asyncbatch.raster.staging import Staging
from asyncbatch.raster.stored import buffer_type, creation_type, read_bits, read_type
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
        self._nodata: Number | None = None
        self._checksums: dict[Window, int] = {}
        self._unfilled: list[tuple[int, Window]] = []
        """Tiles of nodata that came before the file."""

    def write(self, tile: int, window: Window, array: Array) -> None:
        """Write the result of one tile.

        Raises
        ------
        OutputError
            If its bands, its type or its values don't go with the first tile's, or with the file.
        RasterError
            With GDAL's reason, if it can't be written.
        """
        if self._dataset is None:
            self._create(array)
            while self._unfilled:
                self.fill(*self._unfilled.pop())
        self._refuse_unlike(tile, window, array)
        pixels = np.ascontiguousarray(array, self._dtype)
        if self._target.format.driver not in EXACT:
            self._checksums[window] = crc32(pixels.data)
        status = None
        with self._listening() as heard:
            status = self._dataset.WriteRaster(
                window.x,
                window.y,
                window.columns,
                window.rows,
                pixels,
                buf_type=buffer_type(self._dataset.GetRasterBand(1), self._dtype),
            )
        if status != gdal().CE_None or heard:
            raise self._failure(heard)

    def fill(self, tile: int, window: Window) -> None:
        """Write the nodata value in a tile's place: at once, or as soon as there is a file. The target must have one.

        Raises
        ------
        RasterError
            With GDAL's reason, if it can't be written.
        """
        if self._dataset is None:
            self._unfilled.append((tile, window))
        else:
            self.write(tile, window, np.full((self._bands, window.rows, window.columns), self._nodata, self._dtype))

    def close(self) -> None:
        """Write what GDAL still holds back, and make sure that the file is what it should be.

        Raises
        ------
        RasterError
            With GDAL's reason: much of what goes wrong in writing shows only here.
        """
        with self._listening() as heard:
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
        try:
            if self._dataset is not None:
                with self._listening():
                    self._dataset = None
        finally:
            self._staging.remove()

    def _create(self, array: Array) -> None:
        self._bands, self._dtype = array.shape[0], array.dtype
        self._nodata = self._fit_nodata()
        form = self._target.format
        driver = gdal().GetDriverByName(form.driver)
        kind, needed = creation_type(self._dtype, driver)
        if kind == gdal().GDT_Unknown:
            raise OutputError(
                f"output {self._target.label}: this GDAL, {gdal().__version__}, has no type for {self._dtype} in "
                f"format {form.driver}; let the function return another type, with astype"
            )
        path, options = str(self._staging.path), list(merged(needed, form.options))
        dataset = None
        with self._listening() as heard:
            dataset = driver.Create(path, self._grid.columns, self._grid.rows, self._bands, kind, options)
            if dataset is not None:
                self._describe(dataset)
        if dataset is None or heard:
            raise self._failure(heard)
        self._refuse_other(dataset)
        self._dataset = dataset

    def _describe(self, dataset: Any) -> None:  # noqa: ANN401 - GDAL carries no types
        if self._grid.transform is not None:
            dataset.SetGeoTransform(self._grid.transform)
        if self._grid.projection:
            dataset.SetProjection(self._grid.projection)
        if self._nodata is not None:
            for band in range(self._bands):
                dataset.GetRasterBand(band + 1).SetNoDataValue(self._nodata)

    def _fit_nodata(self) -> Number | None:
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
        inexact = find_inexact(array, self._dtype)
        if inexact is not None:
            raise OutputError(
                f"{where} has the value {inexact} of type {array.dtype}; the first tile's {self._dtype}, which is the "
                "file's, can't hold that; let the function return one type, with astype"
            )
        bits = read_bits(self._dataset.GetRasterBand(1))
        if bits is not None:
            self._refuse_beyond(bits, array, where)

    def _refuse_beyond(self, bits: int, array: Array, where: str) -> None:
        """Refuse values that GDAL would cut to the bits that the creation options name."""
        beyond = array[(array < 0) | (array >= 2**bits)]
        if beyond.size:
            raise OutputError(
                f"{where} has the value {beyond[0]}, which NBITS={bits} can't hold; leave that creation option out"
            )

    def _verify(self) -> None:
        dataset = None
        with self._listening() as heard:
            dataset = gdal().Open(str(self._staging.path))
        if dataset is None:
            raise self._failure(heard)
        self._refuse_other(dataset)
        for window, checksum in self._checksums.items():
            self._refuse_changed(dataset, window, checksum)

    def _refuse_changed(self, dataset: Any, window: Window, checksum: int) -> None:  # noqa: ANN401 - GDAL carries no types
        """Refuse a file that has other values than were written to it."""
        pixels = None
        with self._listening() as heard:
            pixels = dataset.ReadRaster(
                window.x,
                window.y,
                window.columns,
                window.rows,
                buf_type=buffer_type(dataset.GetRasterBand(1), self._dtype),
            )
        if pixels is None:
            raise self._failure(heard)
        if crc32(pixels) != checksum:
            form = self._target.format.driver
            raise RasterError(
                f"output {self._target.label}: {self._target.path} came out with other values of {self._dtype} in "
                f"{window} than were written: format {form} changes some; write a GTiff (.tif) and convert it with "
                f"gdal_translate -of {form}"
            )

    def _refuse_other(self, dataset: Any) -> None:  # noqa: ANN401 - GDAL carries no types
        """Refuse a file that is not what was asked for; some formats change what they lack."""
        bands = [dataset.GetRasterBand(number + 1) for number in range(dataset.RasterCount)]
        kinds = {str(read_type(band)) for band in bands}
        with self._listening():
            declared = {band.GetNoDataValue() for band in bands}
        wanted = _describe_file(self._grid.columns, self._grid.rows, self._bands, {str(self._dtype)})
        got = _describe_file(dataset.RasterXSize, dataset.RasterYSize, len(bands), kinds)
        if got == wanted and any(self._is_other_nodata(value) for value in declared):
            got += f" and the nodata value {', '.join(str(value) for value in declared)}"
            wanted += f" and {self._nodata}"
        if got != wanted:
            raise RasterError(
                f"output {self._target.label}: {self._target.path} came out as {got}; wanted {wanted}; "
                f"format {self._target.format.driver} may not be able to hold that"
            )

    def _is_other_nodata(self, declared: Number | None) -> bool:
        if self._nodata is None:
            return False
        found = None if declared is None else fitted(declared, self._dtype)
        return found is None or not np.array_equal(found, self._nodata, equal_nan=True)

    def _listening(self) -> AbstractContextManager[list[str]]:
        return listening(path=str(self._staging.path), shown=str(self._target.path))

    def _failure(self, heard: list[str]) -> RasterError:
        path = self._target.path
        why = reason(heard, str(path))
        return RasterError(f"output {self._target.label}: can't write {path}: {why}{self._staging.room()}")


def _describe_file(columns: int, rows: int, bands: int, kinds: AbstractSet[str]) -> str:
    return f"{extent(columns, rows)} with {bands} bands of {', '.join(sorted(kinds))}"

"""An output file: created with the first result, written tile by tile, closed and verified."""

from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager
from typing import Any
from zlib import crc32

import numpy as np

from asyncbatch.errors import OutputError, RasterError
from asyncbatch.raster.bindings import collect_errors, format_reason, load_gdal
from asyncbatch.raster.dtypes import Array, Number, find_inexact, fit_nodata
from asyncbatch.raster.formats import EXACT, merge_options
from asyncbatch.raster.grid import Grid, Window, format_size
from asyncbatch.raster.staging import Staging
from asyncbatch.raster.stored import get_buffer_type, get_creation_type, read_bits, read_type
from asyncbatch.raster.targets import Target


class OutputFile:
    """A raster that is written in its staging folder.

    All methods must be called from one thread, since GDAL's handles must not be shared.

    Raises
    ------
    RasterError
        If the staging folder can't be created.
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
        """Nodata tiles to write once the file exists."""

    def write(self, tile: int, window: Window, array: Array) -> None:
        """Write the result of one tile.

        Raises
        ------
        OutputError
            If its bands, type or values do not match the first tile's, or the file can't represent them.
        RasterError
            If it can't be written, with GDAL's reason.
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
        with self._collect_errors() as heard:
            status = self._dataset.WriteRaster(
                window.x,
                window.y,
                window.columns,
                window.rows,
                pixels,
                buf_type=get_buffer_type(self._dataset.GetRasterBand(1), self._dtype),
            )
        if status != load_gdal().CE_None or heard:
            raise self._make_error(heard)

    def fill(self, tile: int, window: Window) -> None:
        """Fill a tile with the nodata value, which the target must have, now or as soon as the file exists.

        Raises
        ------
        RasterError
            If it can't be written, with GDAL's reason.
        """
        if self._dataset is None:
            self._unfilled.append((tile, window))
        else:
            self.write(tile, window, np.full((self._bands, window.rows, window.columns), self._nodata, self._dtype))

    def close(self) -> None:
        """Flush and close the file, and verify it.

        Raises
        ------
        RasterError
            With GDAL's reason. Many write errors are reported only here.
        """
        with self._collect_errors() as heard:
            # Before 3.8 there is no Close: the file is closed when the last reference is deleted.
            dataset, self._dataset = self._dataset, None
            dataset.FlushCache()
            if hasattr(dataset, "Close"):
                dataset.Close()
            del dataset
        if heard:
            raise self._make_error(heard)
        self._staging.sync()
        self._verify()

    def publish(self) -> None:
        """Move the file to its final name."""
        self._staging.publish()

    def discard(self) -> None:
        """Close and delete the file."""
        try:
            if self._dataset is not None:
                with self._collect_errors():
                    self._dataset = None
        finally:
            self._staging.remove()

    def _create(self, array: Array) -> None:
        self._bands, self._dtype = array.shape[0], array.dtype
        self._nodata = self._fit_nodata()
        form = self._target.format
        driver = load_gdal().GetDriverByName(form.driver)
        kind, needed = get_creation_type(self._dtype, driver)
        if kind == load_gdal().GDT_Unknown:
            raise OutputError(
                f"output {self._target.label}: GDAL {load_gdal().__version__} does not support type {self._dtype} in "
                f"format {form.driver}; convert the output to another type with astype"
            )
        path, options = str(self._staging.path), list(merge_options(needed, form.options))
        dataset = None
        with self._collect_errors() as heard:
            dataset = driver.Create(path, self._grid.columns, self._grid.rows, self._bands, kind, options)
            if dataset is not None:
                self._describe(dataset)
        if dataset is None or heard:
            raise self._make_error(heard)
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
        nodata = fit_nodata(wanted, self._dtype)
        if nodata is None:
            raise OutputError(
                f"output {self._target.label}: type {self._dtype} can't represent the nodata value {wanted}"
            )
        return nodata

    def _refuse_unlike(self, tile: int, window: Window, array: Array) -> None:
        where = f"tile {tile} ({window}): output {self._target.label}"
        if array.shape[0] != self._bands:
            raise OutputError(f"{where} has {array.shape[0]} bands, but the first tile had {self._bands}")
        if not np.can_cast(array.dtype, self._dtype, "safe"):
            raise OutputError(
                f"{where} has type {array.dtype}, which can't be safely converted to the file's type, {self._dtype} of "
                "the first tile; convert all outputs to one type with astype"
            )
        inexact = find_inexact(array, self._dtype)
        if inexact is not None:
            raise OutputError(
                f"{where} has the value {inexact} of type {array.dtype}, which the file's type, {self._dtype} of the "
                "first tile, can't represent; convert all outputs to one type with astype"
            )
        bits = read_bits(self._dataset.GetRasterBand(1))
        if bits is not None:
            self._refuse_beyond(bits, array, where)

    def _refuse_beyond(self, bits: int, array: Array, where: str) -> None:
        """Reject values that need more bits than the creation options allow."""
        beyond = array[(array < 0) | (array >= 2**bits)]
        if beyond.size:
            raise OutputError(
                f"{where} has the value {beyond[0]}, which NBITS={bits} can't represent; omit that creation option"
            )

    def _verify(self) -> None:
        dataset = None
        with self._collect_errors() as heard:
            dataset = load_gdal().Open(str(self._staging.path))
        if dataset is None:
            raise self._make_error(heard)
        self._refuse_other(dataset)
        for window, checksum in self._checksums.items():
            self._refuse_changed(dataset, window, checksum)

    def _refuse_changed(self, dataset: Any, window: Window, checksum: int) -> None:  # noqa: ANN401 - GDAL carries no types
        """Reject a file whose values differ from those written."""
        pixels = None
        with self._collect_errors() as heard:
            pixels = dataset.ReadRaster(
                window.x,
                window.y,
                window.columns,
                window.rows,
                buf_type=get_buffer_type(dataset.GetRasterBand(1), self._dtype),
            )
        if pixels is None:
            raise self._make_error(heard)
        if crc32(pixels) != checksum:
            form = self._target.format.driver
            raise RasterError(
                f"output {self._target.label}: values in {window} of {self._target.path} differ from those written, "
                f"since format {form} changes values of type {self._dtype}; write a GTiff (.tif) and convert it with "
                f"gdal_translate -of {form}"
            )

    def _refuse_other(self, dataset: Any) -> None:  # noqa: ANN401 - GDAL carries no types
        """Reject a file that differs from the request, since formats may change what they do not support."""
        bands = [dataset.GetRasterBand(number + 1) for number in range(dataset.RasterCount)]
        kinds = {str(read_type(band)) for band in bands}
        with self._collect_errors():
            declared = {band.GetNoDataValue() for band in bands}
        wanted = _describe_file(self._grid.columns, self._grid.rows, self._bands, {str(self._dtype)})
        got = _describe_file(dataset.RasterXSize, dataset.RasterYSize, len(bands), kinds)
        if got == wanted and any(self._is_other_nodata(value) for value in declared):
            got += f" and the nodata value {', '.join(str(value) for value in declared)}"
            wanted += f" and the nodata value {self._nodata}"
        if got != wanted:
            raise RasterError(
                f"output {self._target.label}: {self._target.path} has {got}; expected {wanted}; "
                f"format {self._target.format.driver} may not support that"
            )

    def _is_other_nodata(self, declared: Number | None) -> bool:
        if self._nodata is None:
            return False
        found = None if declared is None else fit_nodata(declared, self._dtype)
        return found is None or not np.array_equal(found, self._nodata, equal_nan=True)

    def _collect_errors(self) -> AbstractContextManager[list[str]]:
        return collect_errors(path=str(self._staging.path), shown=str(self._target.path))

    def _make_error(self, heard: list[str]) -> RasterError:
        path = self._target.path
        why = format_reason(heard, str(path))
        return RasterError(f"output {self._target.label}: can't write {path}: {why}{self._staging.format_free_space()}")


def _describe_file(columns: int, rows: int, bands: int, kinds: AbstractSet[str]) -> str:
    return f"{format_size(columns, rows)} with {bands} bands of {', '.join(sorted(kinds))}"

"""Writes results in a separate thread."""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from asyncbatch.raster.dtypes import Array
from asyncbatch.raster.grid import Grid, Window
from asyncbatch.raster.output import OutputFile
from asyncbatch.raster.targets import Target

BEHIND = 2
"""Number of results that may wait to be written before `put` blocks."""


class Writer:
    """Writes the output files of a computation: all of them appear under their final names, or none.

    A context manager, which ends its thread and removes temporary files.

    Parameters
    ----------
    targets : sequence of Target
        The output files.
    grid : Grid
        Size and georeferencing of every output.
    on_written : callable
        Called with the number of tiles written so far, in the caller's thread.
    """

    def __init__(self, targets: Sequence[Target], grid: Grid, on_written: Callable[[int], None]) -> None:
        self._targets = targets
        self._grid = grid
        self._on_written = on_written
        self._written = 0
        self._outputs: list[OutputFile] = []
        self._waiting: deque[Future[None]] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="asyncbatch-writer")

    def __enter__(self) -> Self:
        try:
            for target in self._targets:
                self._outputs.append(OutputFile(target, self._grid))
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def put(self, tile: int, window: Window, arrays: Sequence[Array]) -> None:
        """Queue a tile's results for writing; block while too many are waiting.

        Raises
        ------
        OutputError, RasterError
            The error of an earlier tile.
        """
        self._waiting.append(self._thread.submit(self._write, tile, window, arrays))
        self._settle(BEHIND)

    def fill(self, tile: int, window: Window) -> None:
        """Queue a tile for filling with nodata, like `put`."""
        self._waiting.append(self._thread.submit(self._fill, tile, window))
        self._settle(BEHIND)

    def finish(self) -> None:
        """Write all queued results, close all files, and then move them to their final names.

        Raises
        ------
        OutputError, RasterError
            If any file is incomplete; none has been renamed then.
        """
        self._settle(0)
        self._thread.submit(self._publish).result()

    def _settle(self, allowed: int) -> None:
        while self._waiting and (len(self._waiting) > allowed or self._waiting[0].done()):
            self._waiting[0].result()
            self._waiting.popleft()
            self._written += 1
            self._on_written(self._written)

    def _write(self, tile: int, window: Window, arrays: Sequence[Array]) -> None:
        for output, array in zip(self._outputs, arrays, strict=True):
            output.write(tile, window, array)

    def _fill(self, tile: int, window: Window) -> None:
        for output in self._outputs:
            output.fill(tile, window)

    def _publish(self) -> None:
        for output in self._outputs:
            output.close()
        while self._outputs:
            self._outputs[0].publish()
            self._outputs.pop(0)

    def _end(self) -> None:
        for write in self._waiting:
            write.cancel()
        # In the thread that owns the handles; it runs even if a second Ctrl-C interrupts waiting for it.
        self._thread.submit(self._discard)
        self._thread.shutdown(wait=True)

    def _discard(self) -> None:
        for output in self._outputs:
            output.discard()

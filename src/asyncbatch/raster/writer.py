"""Writes results behind the computation, in a thread of its own."""

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
"""Results that may wait to be written before the next is held up."""


class Writer:
    """The output files of one computation: all of them appear under their final names, or none.

    A context manager: no thread and no temporary file is left behind it.

    Parameters
    ----------
    targets : sequence of Target
        Where to write.
    grid : Grid
        Size and georeferencing of every output.
    on_written : callable
        Called with the number of tiles written so far, in the thread that uses the writer.
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
        """Have a tile's results written soon; wait while too many are waiting already.

        Raises
        ------
        OutputError, RasterError
            What went wrong with a tile put before.
        """
        self._waiting.append(self._thread.submit(self._write, tile, window, arrays))
        self._settle(BEHIND)

    def fill(self, tile: int, window: Window) -> None:
        """Have nodata written in a tile's place, as `put` has its results written."""
        self._waiting.append(self._thread.submit(self._fill, tile, window))
        self._settle(BEHIND)

    def finish(self) -> None:
        """Write what is waiting, close all files, and only then give them their final names.

        Raises
        ------
        OutputError, RasterError
            If any of them is not whole; none has then been renamed.
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
        # In the thread that owns the handles, and sure to run even if a second Ctrl-C ends the wait for it.
        self._thread.submit(self._discard)
        self._thread.shutdown(wait=True)

    def _discard(self) -> None:
        for output in self._outputs:
            output.discard()

"""Adds a tile's index and window to its error, for any executor."""

import traceback
from concurrent.futures import BrokenExecutor, CancelledError, Executor

from asyncbatch.errors import AsyncBatchError, RunClosed, TileError, TileLost
from asyncbatch.raster import blocks
from asyncbatch.raster.grid import Window
from asyncbatch.raster.serial import Serial


def translate_error(error: BaseException, executor: Executor, tile: int, window: Window) -> AsyncBatchError:
    """Return the error to raise in main for an error of a tile's future.

    Parameters
    ----------
    error : BaseException
        The result of ``future.exception()``.
    executor : Executor
        The executor that computed the tile.
    tile : int
        Index within this computation; a pool's own index counts all its tiles.
    window : Window
        The tile's window, without margins.
    """
    if isinstance(error, TileError | TileLost):
        error.tile, error.place = tile, str(window)
        return error
    if isinstance(error, AsyncBatchError):
        return error
    if isinstance(error, CancelledError):
        return RunClosed(f"tile {tile} ({window}) was cancelled, since the pool was shut down before it was computed")
    if isinstance(error, BrokenExecutor):
        return TileLost(format_one_line(error), tile=tile, attempts=1, place=str(window))
    return TileError(
        format_one_line(error),
        tile=tile,
        worker="main" if isinstance(executor, Serial) else type(executor).__name__,
        remote_traceback=format_user_traceback(error),
        place=str(window),
    )


def format_one_line(error: BaseException) -> str:
    """Format an exception on one line, like the last line of a traceback."""
    return " ".join("".join(traceback.format_exception_only(error)).split())


def format_user_traceback(error: BaseException) -> str:
    """Format the traceback from the user's function on, without asyncbatch's frames above it."""
    if type(error.__cause__).__name__ == "_RemoteTraceback":
        # A process pool has only the text of the traceback, in quotes.
        return str(error.__cause__).strip().strip('"').strip()
    frames = error.__traceback__
    below = frames
    while frames is not None:
        if frames.tb_frame.f_code.co_filename == blocks.__file__:
            below = frames.tb_next or frames
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, below)).strip()

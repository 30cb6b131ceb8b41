"""Names the tile and its window in whatever made a tile fail, whichever executor it comes from."""

import traceback
from concurrent.futures import BrokenExecutor, CancelledError, Executor

from asyncbatch.errors import AsyncBatchError, RunClosed, TileError, TileLost
from asyncbatch.raster import blocks
from asyncbatch.raster.grid import Window
from asyncbatch.raster.serial import Serial


def translated(error: BaseException, executor: Executor, tile: int, window: Window) -> AsyncBatchError:
    """Return the error to raise in main for a tile's future that holds `error`.

    Parameters
    ----------
    error : BaseException
        What ``future.exception()`` returned.
    executor : Executor
        Where the tile was computed.
    tile : int
        Index within this computation; a pool counts over its whole life.
    window : Window
        What the tile covers, without the margins.
    """
    if isinstance(error, TileError | TileLost):
        error.tile, error.place = tile, str(window)
        return error
    if isinstance(error, AsyncBatchError):
        return error
    if isinstance(error, CancelledError):
        return RunClosed(f"tile {tile} ({window}) was cancelled: the pool was shut down before it was computed")
    if isinstance(error, BrokenExecutor):
        return TileLost(one_line(error), tile=tile, attempts=1, place=str(window))
    return TileError(
        one_line(error),
        tile=tile,
        worker="main" if isinstance(executor, Serial) else type(executor).__name__,
        remote_traceback=user_traceback(error),
        place=str(window),
    )


def one_line(error: BaseException) -> str:
    """Return an exception as ``traceback`` prints it last, on one line."""
    return " ".join("".join(traceback.format_exception_only(error)).split())


def user_traceback(error: BaseException) -> str:
    """Return the traceback from the user's function on, without the frames of ours that lead to it."""
    if type(error.__cause__).__name__ == "_RemoteTraceback":
        # A process pool has the text of it only, in quotes.
        return str(error.__cause__).strip().strip('"').strip()
    frames = error.__traceback__
    below = frames
    while frames is not None:
        if frames.tb_frame.f_code.co_filename == blocks.__file__:
            below = frames.tb_next or frames
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, below)).strip()

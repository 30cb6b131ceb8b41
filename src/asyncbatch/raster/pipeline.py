"""Keeps tiles in flight, so that reading, computing and writing overlap."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from dataclasses import dataclass

from asyncbatch.errors import OutputError, TileError, TileLost
from asyncbatch.main.copies import State
from asyncbatch.main.windowed import TileWindow
from asyncbatch.raster.blocks import Block, Computed, Refusal
from asyncbatch.raster.failures import translate_error
from asyncbatch.raster.grid import Window
from asyncbatch.raster.policy import Failures
from asyncbatch.raster.writer import Writer

Result = Computed | Refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class SentTile:
    """A tile that has been submitted."""

    tile: int
    window: Window
    future: Future[Result]


def process(
    blocks: Iterable[Block],
    program: Callable[[Block], Result],
    executor: Executor,
    writer: Writer,
    note: Callable[[State], None],
    *,
    failures: Failures,
) -> None:
    """Compute every block, pass its results to the writer, and note the state of its slot's copy of `other`, in order.

    Results are processed in order, although a slow tile then delays those after it: the same input gives the same file,
    byte for byte, and the first failing tile is reported. The executor's window limits the number of blocks, results
    and tiles in memory.

    Raises
    ------
    TileError, TileLost
        If the user's function raised an exception, or all attempts were lost, and the policy is to raise. The tiles
        after it are cancelled.
    OutputError, RasterError
        If a result can't be written, or an input can't be read.
    """
    with TileWindow[SentTile](lambda: get_window(executor)) as in_flight:
        for block in blocks:
            in_flight.add(SentTile(tile=block.tile, window=block.window, future=submit_block(executor, program, block)))
            while in_flight.is_due:
                finish_tile(in_flight.first, executor, writer, note, failures)
                in_flight.pop()
        while in_flight:
            finish_tile(in_flight.first, executor, writer, note, failures)
            in_flight.pop()


def submit_block(executor: Executor, program: Callable[[Block], Result], block: Block) -> Future[Result]:
    """Submit a tile; if the pool is broken, return a failed future, so that earlier tiles are reported first."""
    try:
        return executor.submit(program, block)
    except BrokenExecutor as error:
        future: Future[Result] = Future()
        future.set_exception(error)
        return future


def get_window(executor: Executor) -> int:
    """Return the number of tiles that keep the executor busy, which changes for a `BatchExecutor`."""
    asked = getattr(executor, "window", None)
    if isinstance(asked, int):
        return max(asked, 1)
    # The standard library's pools have no public attribute.
    workers = getattr(executor, "_max_workers", None)
    return 2 * (workers if isinstance(workers, int) else os.cpu_count() or 1)


def finish_tile(
    sent: SentTile, executor: Executor, writer: Writer, note: Callable[[State], None], failures: Failures
) -> None:
    """Wait for a tile and forward its result."""
    try:
        result = wait_for_result(sent, executor)
    except (TileError, TileLost, OutputError) as error:
        failures.note(error)
        if failures.policy == "nodata":
            writer.fill(sent.tile, sent.window)
        return
    if result.state is not None:
        note(result.state)
    writer.put(sent.tile, sent.window, result.arrays)


def wait_for_result(sent: SentTile, executor: Executor) -> Computed:
    """Wait for a tile and return its result.

    Raises
    ------
    TileError, TileLost, OutputError
        If the tile failed.
    AsyncBatchError
        If no more tiles can be computed.
    """
    try:
        # Not raised by the future, since a tile's SystemExit would then end main.
        error = sent.future.exception()
    except CancelledError as cancelled:
        error = cancelled
    if error is not None:
        raised = translate_error(error, executor, sent.tile, sent.window)
        if raised is error:
            raise raised
        raise raised from error
    result = sent.future.result()
    if isinstance(result, Refusal):
        raise OutputError(f"tile {sent.tile} ({sent.window}): {result.reason}")
    return result

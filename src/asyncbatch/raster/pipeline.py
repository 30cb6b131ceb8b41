"""Keeps tiles in flight: reading ahead, computing, and writing behind overlap."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from dataclasses import dataclass

from asyncbatch.copies import State
from asyncbatch.errors import OutputError, TileError, TileLost
from asyncbatch.main.windowed import TileWindow
from asyncbatch.raster.blocks import Block, Computed, Refusal
from asyncbatch.raster.failures import translated
from asyncbatch.raster.grid import Window
from asyncbatch.raster.policy import Failures
from asyncbatch.raster.writer import Writer

Result = Computed | Refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Flight:
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
    """Compute every block, put its results to the writer and note how its slot's copy of `other` stands, in order.

    In order, although a slow tile then holds up those behind it: the same input gives the same file, byte for byte,
    and the tile that is reported as failed is the first that fails. As many blocks, results and tiles in flight are
    held as the executor asks for, however large the raster.

    Raises
    ------
    TileError, TileLost
        If the user's function raised, or no worker survived the tile, and such failures are to be raised; the tiles
        behind it are cancelled.
    OutputError, RasterError
        If a result can't be written, or an input not be read.
    """
    with TileWindow[Flight](lambda: most_in_flight(executor)) as flights:
        for block in blocks:
            flights.add(Flight(tile=block.tile, window=block.window, future=submitted(executor, program, block)))
            while flights.is_due:
                land(flights.first, executor, writer, note, failures)
                flights.pop()
        while flights:
            land(flights.first, executor, writer, note, failures)
            flights.pop()


def submitted(executor: Executor, program: Callable[[Block], Result], block: Block) -> Future[Result]:
    """Submit a tile; if the pool is broken by now, the tile fails, but not before those ahead of it."""
    try:
        return executor.submit(program, block)
    except BrokenExecutor as error:
        future: Future[Result] = Future()
        future.set_exception(error)
        return future


def most_in_flight(executor: Executor) -> int:
    """Return how many tiles keep the executor busy; a `BatchExecutor` says so itself, and anew as workers come up."""
    asked = getattr(executor, "window", None)
    if isinstance(asked, int):
        return max(asked, 1)
    # The standard pools don't tell; theirs is the attribute that others read as well.
    workers = getattr(executor, "_max_workers", None)
    return 2 * (workers if isinstance(workers, int) else os.cpu_count() or 1)


def land(flight: Flight, executor: Executor, writer: Writer, note: Callable[[State], None], failures: Failures) -> None:
    """Wait for a tile and pass on what has come back."""
    try:
        result = take(flight, executor)
    except (TileError, TileLost, OutputError) as error:
        failures.note(error)
        if failures.policy == "nodata":
            writer.fill(flight.tile, flight.window)
        return
    if result.state is not None:
        note(result.state)
    writer.put(flight.tile, flight.window, result.arrays)


def take(flight: Flight, executor: Executor) -> Computed:
    """Wait for a tile and return what it has computed.

    Raises
    ------
    TileError, TileLost, OutputError
        If the tile failed.
    AsyncBatchError
        If no tile can be computed any more.
    """
    try:
        # Asked for, not raised: a SystemExit in here would otherwise be a way for a tile to end main.
        error = flight.future.exception()
    except CancelledError as cancelled:
        error = cancelled
    if error is not None:
        raised = translated(error, executor, flight.tile, flight.window)
        if raised is error:
            raise raised
        raise raised from error
    result = flight.future.result()
    if isinstance(result, Refusal):
        raise OutputError(f"tile {flight.tile} ({flight.window}): {result.reason}")
    return result

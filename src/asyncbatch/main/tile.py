"""Tiles as main holds them, from their submission to their result."""

from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import anyio

from asyncbatch.errors import TileError, TileLost
from asyncbatch.main.futures import TileFuture
from asyncbatch.main.program import Program


class State(Enum):
    """How far a tile has come."""

    WAITING = "waiting"
    """For room in the window."""
    SENDING = "sending"
    ANNOUNCED = "announced"
    ACCEPTED = "accepted"
    """Its first result has come, and is being fetched and decoded."""


@dataclass(slots=True, kw_only=True, eq=False, weakref_slot=True)
class Tile:
    """A tile and the future of its result."""

    program: Program
    content: bytes = field(repr=False)
    """The payload as it was at submission; dropped when it lies in S3 or in the announcement."""
    future: TileFuture[Any] = field(default_factory=TileFuture)
    in_key: str | None = None
    """Where the payload lies, if not in the message."""
    announcement: str = field(default="", repr=False)
    """The message that announces the tile, to be sent again if it gets lost."""
    out_key: str | None = None
    """Where the accepted result lies, if not in its message."""
    result_size: int = 0
    """Bytes of the result in memory, once it has come."""
    index: int = -1
    """The run's number for it; set by the ledger, as is `state`."""
    state: State = State.WAITING


def take(future: Future[Any], timeout: float | None = None, *, collect: bool) -> Any:  # noqa: ANN401 - whatever the user's function returns
    """Return a tile's result; where errors are collected, the tile's own error in its place.

    Raises
    ------
    Exception
        The tile's error, unless it is collected. What ends the whole run always is raised.
    """
    try:
        return future.result(timeout)
    except (TileError, TileLost) as error:
        if not collect:
            raise
        return error


async def wait_for(future: Future[Any], *, collect: bool = False) -> Any:  # noqa: ANN401 - as of `take`
    """Await a future of `concurrent.futures` that is settled by this event loop's thread; `collect` is as of `take`."""
    settled = anyio.Event()
    future.add_done_callback(lambda _: settled.set())
    try:
        await settled.wait()
    except anyio.get_cancelled_exc_class():
        future.cancel()
        raise
    return take(future, collect=collect)

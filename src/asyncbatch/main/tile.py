"""Tiles in main, from submission to result."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from asyncbatch.aws.protocols import Content
from asyncbatch.main.futures import TileFuture
from asyncbatch.main.program import Program, encode_arguments


class State(Enum):
    """The state of a tile."""

    WAITING = "waiting"
    """Waiting for a free place in the window."""
    SENDING = "sending"
    ANNOUNCED = "announced"
    ACCEPTED = "accepted"
    """Its first result has arrived, and is being fetched and decoded."""


@dataclass(slots=True, kw_only=True, eq=False, weakref_slot=True)
class Tile:
    """A tile and the future of its result."""

    program: Program
    content: bytes = field(default=b"", repr=False)
    """The payload; dropped when it is in S3 or in the announcement."""
    future: TileFuture[Any] = field(default_factory=TileFuture)
    in_key: str | None = None
    """Key of the payload in the bucket, if it is not in the message."""
    announcement: str = field(default="", repr=False)
    """The message that announces the tile, to send it again if it is lost."""
    out_key: str | None = None
    """Key of the accepted result in the bucket, if it is not in its message."""
    result_size: int = 0
    """Size of the result in memory in bytes, after it has arrived."""
    record: Callable[[Content], None] | None = None
    """Stores the result on main's disk. Blocks."""
    sent: float = 0.0
    """Time when it was announced, by the event loop's clock."""
    copied: bool = False
    """Whether it was sent a second time because it was slow."""
    alone: bool = False
    """Whether it was announced alone, since its group was not computed."""
    half_lost: bool = False
    """Whether the original or the copy is lost. The tile is lost when both are."""
    index: int = -1
    """Index of the tile in its run; set by the ledger, like `state`."""
    state: State = State.WAITING


def make_tile(program: Program, args: tuple[object, ...], kwargs: Mapping[str, object]) -> Tile:
    """Return a tile to be sent; if its result is stored, its future is done already.

    Raises
    ------
    ProgramError
        If an argument can't be pickled.
    """
    tile = Tile(program=program)
    if program.resumption is None or not program.resumption.settle(tile, args, kwargs):
        tile.content = encode_arguments(args, kwargs)
    return tile

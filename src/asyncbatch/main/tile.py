"""Tiles as main holds them, from their submission to their result."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from asyncbatch.aws.protocols import Content
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
    content: bytes = field(default=b"", repr=False)
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
    record: Callable[[Content], None] | None = None
    """Stores the result on main's disk. It blocks."""
    sent: float = 0.0
    """When it was announced, by the event loop's clock."""
    copied: bool = False
    """Whether it was sent a second time, since it is slow."""
    half_lost: bool = False
    """Whether the original or the copy of a tile that was sent twice is lost. The tile is lost if the other one is."""
    index: int = -1
    """The run's number for it; set by the ledger, as is `state`."""
    state: State = State.WAITING

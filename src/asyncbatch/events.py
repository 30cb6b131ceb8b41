"""What happens in a run, for whoever watches it: one frozen object for each event.

Pass observers to a pool, ``BatchExecutor(..., observers=[...])``. Each gets every event, in order.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from asyncbatch.errors import AsyncBatchError


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOpened:
    """A run was opened; its workers are being started."""

    run: str
    bucket: str
    workers: int
    """Workers asked for; 0 where their number follows the number of tiles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded:
    """A run was closed, and its workers were stopped."""

    run: str
    error: AsyncBatchError | None
    """What ended it early."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerUp:
    """A worker came up."""

    worker: str
    slots: int
    """Tiles that it computes at one time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLost:
    """A worker has not been heard from for too long; its tiles go to others, and it is replaced."""

    worker: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLeft:
    """A worker left in order."""

    worker: str
    reason: str
    tiles: int
    """Tiles that it computed."""
    busy_seconds: float
    """Seconds in which it computed, added up over its slots."""
    requests: Mapping[str, int]
    """Its requests to AWS, by ``service:Operation``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TileSent:
    """A tile was sent to the workers. When one begins to compute it is not known to main."""

    tile: int
    """The tile's number in its run, from 0."""
    size: int
    """Bytes of its payload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TileDone:
    """A tile's result arrived."""

    tile: int
    worker: str
    seconds: float
    """Seconds that its slot took."""
    peak_memory: int
    """Most bytes of memory that its slot had meanwhile; 0: not known."""
    size: int
    """Bytes of its result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TileFailed:
    """A tile failed for good, by itself or with its run."""

    tile: int
    error: BaseException


@dataclass(frozen=True, slots=True, kw_only=True)
class TileCancelled:
    """A tile was cancelled."""

    tile: int


Event = RunOpened | RunEnded | WorkerUp | WorkerLost | WorkerLeft | TileSent | TileDone | TileFailed | TileCancelled


class Observer(Protocol):
    """Watches a run."""

    def observe(self, event: Event, /) -> None:
        """Take an event.

        It is called in the thread of the run's event loop, and must return at once. An observer that raises is logged,
        and called no more.
        """

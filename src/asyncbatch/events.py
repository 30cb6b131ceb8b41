"""The events of a run, and the protocol of observers.

Pass observers to a pool: ``BatchExecutor(..., observers=[...])``. Each receives every event, in order.
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
    """Number of requested workers; 0 if it scales with the backlog."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded:
    """A run was closed, and its workers were stopped."""

    run: str
    error: AsyncBatchError | None
    """The error that ended the run early."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerUp:
    """A worker came up."""

    worker: str
    slots: int
    """Number of tiles that it computes at one time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLost:
    """A worker has been silent for too long; other workers compute its tiles, and it is replaced."""

    worker: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLeft:
    """A worker exited normally."""

    worker: str
    reason: str
    tiles: int
    """Number of tiles that it computed."""
    busy_seconds: float
    """Seconds in which it computed, summed over its slots."""
    requests: Mapping[str, int]
    """Number of its requests to AWS, by ``service:Operation``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TileSent:
    """A tile was sent to the workers. Main does not know when a worker starts to compute it."""

    tile: int
    """Index of the tile in its run, from 0."""
    size: int
    """Size of its payload in bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TileCopied:
    """A slow tile was sent a second time, to idle workers. The first result counts."""

    tile: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TileDone:
    """A tile's result arrived."""

    tile: int
    worker: str
    seconds: float
    """Seconds that it took in its slot."""
    peak_memory: int
    """Peak memory of its slot in bytes; 0 if it is not known."""
    size: int
    """Size of its result in bytes."""
    copy: bool
    """Whether its copy was faster: see `TileCopied`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TileFailed:
    """A tile failed finally, because of its own error or because its run failed."""

    tile: int
    error: BaseException


@dataclass(frozen=True, slots=True, kw_only=True)
class TileCancelled:
    """A tile was cancelled."""

    tile: int


Event = (
    RunOpened
    | RunEnded
    | WorkerUp
    | WorkerLost
    | WorkerLeft
    | TileSent
    | TileCopied
    | TileDone
    | TileFailed
    | TileCancelled
)


class Observer(Protocol):
    """Receives the events of a run."""

    def observe(self, event: Event, /) -> None:
        """Handle an event.

        The method is called in the thread of the run's event loop, and must return immediately. If it raises an
        exception, the exception is logged, and the observer is no longer called.
        """

"""The observers of a run: the user's, main's log, and the counts for `status`."""

import logging
from collections.abc import Sequence
from typing import Final

from asyncbatch.events import (
    Event,
    Observer,
    RunOpened,
    TileCancelled,
    TileCopied,
    TileDone,
    TileFailed,
    WorkerLeft,
    WorkerLost,
    WorkerUp,
)

log: Final = logging.getLogger(__name__)


class Observers:
    """Passes each event to all observers in order."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = list(observers)

    def observe(self, event: Event) -> None:
        """Pass on an event. An observer that raises an exception gets no more events."""
        for observer in list(self._observers):
            try:
                observer.observe(event)
            except Exception:  # the user's own, which may raise anything
                self._observers.remove(observer)
                log.exception(
                    "observer %r failed and will not be called again", observer, extra={"action": "observer_failed"}
                )


class Tally:
    """Counts the tiles of a run by outcome. Any thread may read it."""

    def __init__(self) -> None:
        self.done = 0
        self.failed = 0
        self.cancelled = 0
        self.copied = 0
        """Number of slow tiles that were sent a second time."""
        self.copies_faster = 0
        """Number of these tiles whose copy was faster."""
        self.peak_memory = 0
        """Highest peak memory of a tile's process in bytes; 0 if it is not known."""

    def observe(self, event: Event, /) -> None:
        """Count an event."""
        match event:
            case TileDone():
                self.done += 1
                self.copies_faster += event.copy
                self.peak_memory = max(self.peak_memory, event.peak_memory)
            case TileCopied():
                self.copied += 1
            case TileFailed():
                self.failed += 1
            case TileCancelled():
                self.cancelled += 1


class EventLog:
    """Writes events that matter to operators to main's log."""

    def observe(self, event: Event, /) -> None:
        """Log an event, or ignore it."""
        match event:
            case RunOpened():
                log.info(
                    "run %s opened in bucket %s",
                    event.run,
                    event.bucket,
                    extra={"action": "run_opened", "run": event.run, "bucket": event.bucket},
                )
            case TileCopied():
                log.info(
                    "tile %d is slow; sent a second time",
                    event.tile,
                    extra={"action": "tile_copied", "tile": event.tile},
                )
            case WorkerUp():
                log.info(
                    "worker %s is up, slots: %d",
                    event.worker,
                    event.slots,
                    extra={"action": "worker_up", "worker": event.worker, "slots": event.slots},
                )
            case WorkerLost():
                log.warning(
                    "worker %s has sent no message for too long",
                    event.worker,
                    extra={"action": "worker_silent", "worker": event.worker},
                )
            case WorkerLeft():
                log.info(
                    "worker %s left (%s), tiles: %d",
                    event.worker,
                    event.reason,
                    event.tiles,
                    extra={
                        "action": "worker_left",
                        "worker": event.worker,
                        "reason": event.reason,
                        "tiles": event.tiles,
                        "busy_seconds": round(event.busy_seconds, 3),
                        "requests": sum(event.requests.values()),
                    },
                )

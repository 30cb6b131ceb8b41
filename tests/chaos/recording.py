"""Records the events and log records of a run."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from asyncbatch.events import Event, TileCopied, TileDone, TileFailed
from tests.chaos.oracle import Report


class Ends:
    """Counts main's events about the end of each tile."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def observe(self, event: Event, /) -> None:
        """Count an event."""
        if isinstance(event, TileDone | TileFailed):
            self._report.ended[event.tile] += 1
        elif isinstance(event, TileCopied):
            self._report.copied[event.tile] += 1


class _Recorder(logging.Handler):
    """Counts log records by action."""

    def __init__(self, report: Report) -> None:
        super().__init__()
        self._report = report

    def emit(self, record: logging.LogRecord) -> None:
        action = getattr(record, "action", "")
        self._report.actions[action] += 1
        if action == "tile_begun":
            self._report.begun[getattr(record, "tile", -1)] += 1
        elif action == "group_late":  # not computed, although the whole group is logged as begun
            self._report.begun.subtract(getattr(record, "tiles", []))


@contextmanager
def recorded(report: Report) -> Iterator[None]:
    """Count the package's log records in the block, instead of writing them."""
    logger = logging.getLogger("asyncbatch")
    handler, level, propagate = _Recorder(report), logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate

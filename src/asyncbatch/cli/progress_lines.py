"""Progress as plain lines, for logs and pipes."""

import sys
from collections.abc import Callable
from threading import Event, Thread
from time import monotonic
from typing import Self

from asyncbatch.cli.progress import Snapshot, StatusSource, Watch
from asyncbatch.raster import Progress

INTERVAL = 5.0
"""Seconds between two lines at least."""


class Lines:
    """A line at the start, one at the end, and in between one now and then while something changes."""

    def __init__(
        self,
        write: Callable[[str], None] | None = None,
        now: Callable[[], float] = monotonic,
        interval: float = INTERVAL,
    ) -> None:
        self._watch = Watch(now)
        self._write = write or to_stderr
        self._interval = interval
        self._shown: Snapshot | None = None
        self._over = Event()
        self._thread = Thread(target=self._tick, name="asyncbatch-lines", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._thread.join()
        self.show()

    def watch(self, status: StatusSource | None) -> None:
        """Show from now on what a pool says about itself; None for no pool."""
        self._watch.watch(status)

    def update(self, progress: Progress) -> None:
        """Take note of tiles written."""
        self._watch.update(progress)
        if self._shown is None:
            self.show()

    def show(self) -> None:
        """Write a line, unless the last one says the same."""
        snapshot = self._watch.snapshot()
        if snapshot is not None and facts(snapshot) != (facts(self._shown) if self._shown else None):
            self._shown = snapshot
            self._write(str(snapshot))

    def _tick(self) -> None:
        while not self._over.wait(self._interval):
            self.show()


def facts(snapshot: Snapshot) -> tuple[object, ...]:
    """Return what makes a new line worth reading: all but the rate, which changes with the time alone."""
    return snapshot.progress, snapshot.status


def to_stderr(text: str) -> None:
    """Write a line to the error output."""
    print(text, file=sys.stderr, flush=True)

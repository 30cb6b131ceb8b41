"""Shows progress as plain lines, for logs and pipes."""

import sys
from collections.abc import Callable
from threading import Event, Thread
from time import monotonic
from typing import Self

from asyncbatch.cli.progress import Snapshot, StatusSource, Watch
from asyncbatch.raster import Progress

INTERVAL = 5.0
"""Minimum number of seconds between two lines."""


class Lines:
    """Writes a line at the start, one at the end, and one every few seconds in between if something has changed."""

    def __init__(
        self,
        write: Callable[[str], None] | None = None,
        now: Callable[[], float] = monotonic,
        interval: float = INTERVAL,
    ) -> None:
        self._watch = Watch(now)
        self._write = write or write_to_stderr
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
        """Show the status of a pool from now on; None for no pool."""
        self._watch.watch(status)

    def update(self, progress: Progress) -> None:
        """Note tiles written."""
        self._watch.update(progress)
        if self._shown is None:
            self.show()

    def show(self) -> None:
        """Write a line if the state has changed since the last one."""
        snapshot = self._watch.take_snapshot()
        if snapshot is not None and select_facts(snapshot) != (select_facts(self._shown) if self._shown else None):
            self._shown = snapshot
            self._write(str(snapshot))

    def _tick(self) -> None:
        while not self._over.wait(self._interval):
            self.show()


def select_facts(snapshot: Snapshot) -> tuple[object, ...]:
    """Return the state without the rate, which changes even if nothing else does."""
    return snapshot.progress, snapshot.status


def write_to_stderr(text: str) -> None:
    """Write a line to stderr."""
    print(text, file=sys.stderr, flush=True)

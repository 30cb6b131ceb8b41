"""Shows progress as a bar, for terminals."""

from collections.abc import Callable
from time import monotonic
from typing import Self

import rich.progress
from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TaskID
from rich.text import Text

from asyncbatch.cli.progress import StatusSource, Watch
from asyncbatch.raster import Progress


class Bar:
    """A progress bar at the bottom of the terminal; other output to stderr scrolls above it."""

    def __init__(self, console: Console, now: Callable[[], float] = monotonic) -> None:
        self._watch = Watch(now)
        self._bar = rich.progress.Progress(BarColumn(), SnapshotColumn(self._watch), console=console)
        self._task: TaskID = self._bar.add_task("", total=None)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._bar.stop()

    def watch(self, status: StatusSource | None) -> None:
        """Show the status of a pool from now on; None for no pool."""
        self._watch.watch(status)

    def update(self, progress: Progress) -> None:
        """Note tiles written."""
        self._watch.update(progress)
        self._bar.update(self._task, completed=progress.done, total=progress.total)


class SnapshotColumn(ProgressColumn):
    """The state of a watch, read each time the bar is drawn."""

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self._watch = watch

    def render(self, task: Task) -> Text:  # noqa: ARG002 - the base class's signature
        """Return the text beside the bar."""
        return Text(str(self._watch.take_snapshot() or "starting"))

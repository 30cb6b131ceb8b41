"""Tests of the format of progress, and of the rate of the last minute."""

import io
import itertools
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest
from rich.console import Console

from asyncbatch.cli.progress import MEMORY, Pace, Snapshot, Watch, format_duration
from asyncbatch.cli.progress_bar import Bar
from asyncbatch.cli.progress_lines import Lines
from asyncbatch.main.status import Status
from asyncbatch.raster import Progress


def make_status(workers_up: int = 1) -> Status:
    return Status(
        tiles_done=0, tiles_failed=0, tiles_in_flight=4, tiles_waiting=0, workers_up=workers_up, workers_wanted=2
    )


class Clock:
    """A clock that only changes when it is set."""

    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


@pytest.mark.parametrize(
    ("snapshot", "text"),
    [
        (Snapshot(progress=Progress(done=0, total=36), status=None, rate=None), "0/36 tiles"),
        (
            Snapshot(progress=Progress(done=9, total=36), status=make_status(), rate=2.0),
            "9/36 tiles, 4 in flight, 1/2 workers up, 2.0 tiles/s, 0:14 left",
        ),
        (Snapshot(progress=Progress(done=36, total=36), status=None, rate=250.4), "36/36 tiles, 250 tiles/s"),
        (Snapshot(progress=Progress(done=7, total=36, failed=2), status=None, rate=None), "7/36 tiles, 2 failed"),
    ],
)
def test_progress_is_formatted(snapshot: Snapshot, text: str) -> None:
    assert str(snapshot) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (59.6, "1:00"), (61, "1:01"), (3661, "1:01:01")])
def test_durations_of_progress_are_formatted(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_rate_is_unknown_before_the_second_tile() -> None:
    pace = Pace()
    pace.note(0, 10.0)
    assert pace.rate(0, 20.0) is None
    pace.note(1, 30.0)
    assert pace.rate(1, 30.0) is None
    assert pace.rate(1, 35.0) is None


def test_time_before_the_first_tile_does_not_count() -> None:
    pace = Pace()
    pace.note(0, 0.0)
    pace.note(1, 1000.0)
    pace.note(11, 1005.0)
    assert pace.rate(11, 1005.0) == 2.0


def test_rate_only_counts_the_last_minute() -> None:
    pace = Pace()
    for second in range(300):
        pace.note(1 + second, float(second))
    for second in range(300, 400):
        pace.note(300 + 10 * (second - 299), float(second))
    assert pace.rate(1300, 399.0) == pytest.approx(10.0)


def test_number_of_samples_is_limited() -> None:
    pace = Pace()
    for tile in range(100_000):
        pace.note(tile, tile / 1000)
    assert len(pace._notes) <= MEMORY + 2  # noqa: SLF001 - memory can't be seen from outside


def test_rate_remains_when_all_tiles_are_done() -> None:
    now = Clock()
    watch = Watch(now)
    for done in (1, 11):
        watch.update(Progress(done=done, total=11))
        now.time += 5
    now.time += 100
    assert str(watch.take_snapshot()) == "11/11 tiles, 2.0 tiles/s"


def lines(interval: float = 1e6) -> tuple[Lines, list[str], Clock]:
    written: list[str] = []
    now = Clock()
    return Lines(write=written.append, now=now, interval=interval), written, now


def test_first_and_last_lines_are_always_written() -> None:
    display, written, _now = lines()
    with display:
        for done in range(37):
            display.update(Progress(done=done, total=36))
    assert written == ["0/36 tiles", "36/36 tiles"]


def test_last_line_is_written_after_an_error() -> None:
    display, written, _now = lines()
    with suppress(OSError), display:
        display.update(Progress(done=0, total=36))
        display.update(Progress(done=5, total=36))
        raise OSError
    assert written == ["0/36 tiles", "5/36 tiles"]


def test_line_is_only_written_after_a_change() -> None:
    display, written, now = lines()
    pool = make_status()
    display.watch(lambda: pool)
    display.update(Progress(done=0, total=36))
    display.show()
    pool = replace(pool, workers_up=2)
    display.show()
    now.time += 10
    display.show()
    display.update(Progress(done=1, total=36))
    display.show()
    assert written == [
        "0/36 tiles, 4 in flight, 1/2 workers up",
        "0/36 tiles, 4 in flight, 2/2 workers up",
        "1/36 tiles, 4 in flight, 2/2 workers up",
    ]


def test_lines_are_written_while_no_tile_is_done() -> None:
    """Users watch the output most while workers start, which may take minutes."""
    looks = itertools.count(1)
    enough = threading.Event()

    def write(text: str) -> None:
        if "3/2 workers up" in text:
            enough.set()

    display = Lines(write=write, now=Clock(), interval=0.001)
    with display:
        display.watch(lambda: make_status(next(looks)))
        display.update(Progress(done=0, total=36))
        assert enough.wait(30)


def bar() -> tuple[Bar, Callable[[], str]]:
    console = Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None)
    return Bar(console, now=Clock()), console.file.getvalue  # type: ignore[attr-defined]  # a StringIO


def test_bar_shows_tiles_workers_and_rate() -> None:
    display, shown = bar()
    with display:
        display.watch(make_status)
        display.update(Progress(done=18, total=36))
    assert "18/36 tiles, 4 in flight, 1/2 workers up" in shown()


def test_bar_shows_that_no_tile_is_done() -> None:
    display, shown = bar()
    with display:
        pass
    assert "starting" in shown()


def test_output_of_workers_is_shown_above_the_bar() -> None:
    display, shown = bar()
    with display:
        sys.stderr.write("worker 0: [red]not markup[/red]\n")
    above, below = shown().split("worker 0: [red]not markup[/red]")
    assert "starting" in below
    assert "starting" in above

"""Tests of the last line of a command: the run, its tiles, rate and outputs, and the command for logs."""

from dataclasses import replace

import pytest

from asyncbatch.cli.summary import Record, Summary
from asyncbatch.errors import OutputError, RasterError, TileError, TileLost, TileOutOfMemory, TilesFailed, TileTimeout
from asyncbatch.main.status import Status
from asyncbatch.raster import Progress

DONE = Summary(
    run="20260101-000000-abcd",
    done=36,
    total=36,
    failed={},
    elapsed=12.0,
    requests=74,
    written=("ndvi.tif", "mask.tif"),
    logs="asyncbatch logs 20260101-000000-abcd",
)


def test_summary_of_a_complete_run() -> None:
    assert str(DONE) == (
        "run 20260101-000000-abcd: 36 of 36 tiles done, 0 failed, 0:12 elapsed, 3.0 tiles/s, 74 requests; "
        "wrote ndvi.tif, mask.tif; logs: asyncbatch logs 20260101-000000-abcd"
    )


def test_unknown_values_are_omitted() -> None:
    serial = Summary(
        run="", done=0, total=36, failed={"ValueError": 1}, elapsed=0.0, requests=None, written=(), logs=""
    )
    assert str(serial) == "0 of 36 tiles done, 1 failed (1 ValueError), 0:00 elapsed; nothing written"


class Clock:
    """A clock that only changes when it is set."""

    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


def record() -> tuple[Record, Clock]:
    now = Clock()
    return Record(outputs={"a": "a.tif", "b": ["b1.tif", "b2.tif"]}, now=now), now


def test_record_has_a_summary_if_there_are_tiles() -> None:
    kept, now = record()
    assert kept.summarize(None) is None
    kept.update(Progress(done=0, total=4))
    now.time += 2
    kept.update(Progress(done=4, total=4))
    now.time += 6
    summary = kept.summarize(None)
    assert summary is not None
    assert (summary.done, summary.total, summary.failed, summary.elapsed) == (4, 4, {}, 8.0)
    assert summary.written == ("a.tif", "b1.tif", "b2.tif")


@pytest.mark.parametrize(
    ("error", "failed"),
    [
        (TileError("ValueError: no", tile=1, worker="w"), {"ValueError": 1}),
        (TileLost("no", tile=1, attempts=5), {"lost": 1}),
        (TileTimeout("no", tile=1, attempts=5), {"timed out": 1}),
        (
            TilesFailed([OutputError("no"), TileOutOfMemory("no", tile=1, attempts=5), OutputError("no")], total=9),
            {"OutputError": 2, "out of memory": 1},
        ),
        (RasterError("no"), {}),
        (KeyboardInterrupt(), {}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_summary_after_an_error_says_nothing_written(error: BaseException, failed: dict[str, int]) -> None:
    kept, _ = record()
    kept.update(Progress(done=2, total=4))
    summary = kept.summarize(error)
    assert summary is not None
    assert (summary.done, summary.failed, summary.written) == (2, failed, ())


def test_failed_tiles_of_a_written_output_are_counted() -> None:
    kept, _ = record()
    kept.update(Progress(done=4, total=4, failed=1))
    kept.failures = [TileError("ValueError: no", tile=1, worker="w")]
    kept.note_status(
        Status(
            tiles_done=4,
            tiles_failed=1,
            tiles_in_flight=0,
            tiles_waiting=0,
            workers_up=1,
            workers_wanted=1,
            peak_memory=300 * 2**20,
            tiles_copied=3,
            copies_faster=2,
            seconds_gained=41.3,
        )
    )
    summary = kept.summarize(None)
    assert summary is not None
    assert (summary.failed, summary.written) == ({"ValueError": 1}, ("a.tif", "b1.tif", "b2.tif"))
    assert "300 MiB" in str(summary)
    assert "3 slow tiles sent twice, 2 of the copies were faster by at least 41 s in total" in str(summary)
    assert "faster;" in str(replace(summary, seconds_gained=0.0))


def test_summary_of_a_resumed_run_has_the_rate_of_computed_tiles() -> None:
    kept, now = record()
    kept.update(Progress(done=4, total=4))
    kept.resumed, kept.resumable = 3, True
    now.time += 2
    reported = str(kept.summarize(None))
    assert "4 of 4 tiles done (3 resumed)" in reported
    assert "0.5 tiles/s" in reported
    assert "the same command" not in reported
    assert "the same command" in str(kept.summarize(KeyboardInterrupt()))

"""Tests of one main with many workers, in virtual time: work and memory per tile do not grow with tiles or workers.

`python tests/simulation/test_thousand_workers.py TILES WORKERS` prints the CPU time and memory of a long run, in ten
parts. The CPU time is that of main, of the simulated workers and of AWS in memory together.
"""

import gc
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import TypeVar

import anyio
import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))  # for the command above

from asyncbatch import Dispatcher, Settings
from asyncbatch.testing import MemoryAws, VirtualLoop
from tests.simulation.fleet import Fleet

T = TypeVar("T")


class Counter:
    """Counts calls of Python functions, which approximate CPU time but are the same in each run."""

    def __init__(self) -> None:
        self.calls = 0

    def note(self, _frame: FrameType, event: str, _argument: object) -> None:
        self.calls += event == "call"


def play(*, tiles: int, workers: int, parts: int, measure: Callable[[], T]) -> list[T]:
    """Run tiles of a second, and return measurements at the start and after each part of them."""
    measured = [measure()]

    async def run() -> None:
        aws = MemoryAws(latency={"s3": 0.03, "sqs": 0.012})
        async with (
            aws.running(Settings()) as settings,
            Dispatcher(
                workers=workers,
                launcher=Fleet(aws, seconds=1.0),
                settings=settings,
                open_session=aws.open_session,
                keep_failed=False,
            ) as dispatcher,
        ):
            number = 0
            async for _ in dispatcher.map(abs, range(tiles)):
                number += 1
                if number % (tiles // parts) == 0:
                    measured.append(measure())

    anyio.run(run, backend_options={"loop_factory": VirtualLoop})
    return measured


def count_calls(*, tiles: int, workers: int) -> list[float]:
    """Return the calls per tile in parts of a run with a full window, which are neither the first nor the last."""
    counter = Counter()
    sys.setprofile(counter.note)
    try:
        counts = play(tiles=tiles, workers=workers, parts=5, measure=lambda: counter.calls)[1:4]
    finally:
        sys.setprofile(None)
    return [5 * (after - before) / tiles for before, after in pairwise(counts)]


def count_objects() -> int:
    gc.collect()
    return len(gc.get_objects())


@pytest.mark.limit(180)
def test_work_per_tile_does_not_grow_with_tiles_or_workers() -> None:
    works = count_calls(tiles=1000, workers=20) + count_calls(tiles=4000, workers=200)
    assert max(works) < 1.1 * min(works)


def test_memory_of_done_tiles_is_released() -> None:
    few, many = (play(tiles=tiles, workers=20, parts=1, measure=count_objects)[-1] for tiles in (500, 2500))
    assert many - few < 500


def measure_process() -> tuple[float, float]:
    """Return this process's CPU seconds, and its memory in MB."""
    status = Path("/proc/self/status").read_text().splitlines()
    return time.process_time(), next(int(line.split()[1]) / 1000 for line in status if line.startswith("VmRSS"))


def main(tiles: int, workers: int) -> None:
    """Print CPU time and memory during the run."""
    measured = play(tiles=tiles, workers=workers, parts=10, measure=measure_process)
    for (before, _), (after, memory) in pairwise(measured):
        sys.stdout.write(f"{10_000 * (after - before) / tiles:.3f} ms of CPU time per tile, {memory:.0f} MB\n")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

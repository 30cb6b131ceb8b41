"""Run schedules, and print problems: `just chaos SEED [TILES] [--seeds COUNT] [--processes]`."""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.chaos import memory, processes
from tests.chaos.oracle import find_problems
from tests.chaos.replay import describe, shrink
from tests.chaos.schedule import Schedule, draw


def main() -> int:
    """Return 1 if there is any problem."""
    parser = argparse.ArgumentParser(prog="just chaos", description=__doc__)
    parser.add_argument("seed", type=int)
    parser.add_argument("tiles", type=int, nargs="?", help="number of tiles (default: according to the seed)")
    parser.add_argument("--seeds", type=int, default=1, help="number of seeds, from this one on")
    parser.add_argument("--processes", action="store_true", help="use real processes instead of memory")
    wanted = parser.parse_args()
    find = find_with_processes if wanted.processes else find_in_memory
    seeds = range(wanted.seed, wanted.seed + wanted.seeds)
    wrong = sum(not run_and_report(draw(seed, wanted.tiles), find) for seed in seeds)
    sys.stdout.write(f"{wanted.seeds - wrong} of {wanted.seeds} runs succeeded\n")
    return min(wrong, 1)


def run_and_report(schedule: Schedule, find: Callable[[Schedule], list[str]]) -> bool:
    """Run a schedule, print its problems and the smallest schedule with problems, and return whether there are none."""
    problems = find(schedule)
    if problems:
        smallest = shrink(schedule, lambda smaller: bool(find(smaller)))
        sys.stdout.write(
            f"{describe(schedule, problems)}\nsmallest schedule:\n{describe(smallest, find(smallest))}\n\n"
        )
    return not problems


def find_in_memory(schedule: Schedule) -> list[str]:
    """Return the problems of a run in memory."""
    return find_problems(schedule, memory.run_schedule(schedule))


def find_with_processes(schedule: Schedule) -> list[str]:
    """Return the problems of a run with real processes."""
    fitted = processes.fit(schedule)
    with tempfile.TemporaryDirectory() as folder:
        report = processes.run_schedule(fitted, Path(folder))
    return find_problems(fitted, report, limit=processes.LIMIT, exact=False)


if __name__ == "__main__":
    sys.exit(main())

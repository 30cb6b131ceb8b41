"""Play schedules, and say what went wrong: `just chaos SEED [TILES] [--seeds COUNT] [--processes]`."""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.chaos import memory, processes
from tests.chaos.oracle import find_faults
from tests.chaos.replay import describe, shrink
from tests.chaos.schedule import Schedule, draw


def main() -> int:
    """Return 1 if anything went wrong."""
    parser = argparse.ArgumentParser(prog="just chaos", description=__doc__)
    parser.add_argument("seed", type=int)
    parser.add_argument("tiles", type=int, nargs="?", help="by default as many as the seed says")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds, from this one on")
    parser.add_argument("--processes", action="store_true", help="with real processes, in place of memory")
    wanted = parser.parse_args()
    find = find_with_processes if wanted.processes else find_in_memory
    seeds = range(wanted.seed, wanted.seed + wanted.seeds)
    wrong = sum(not play(draw(seed, wanted.tiles), find) for seed in seeds)
    sys.stdout.write(f"{wanted.seeds - wrong} of {wanted.seeds} runs went right\n")
    return min(wrong, 1)


def play(schedule: Schedule, find: Callable[[Schedule], list[str]]) -> bool:
    """Play a schedule, say what went wrong and what is enough for that, and return whether nothing did."""
    faults = find(schedule)
    if faults:
        smallest = shrink(schedule, lambda smaller: bool(find(smaller)))
        sys.stdout.write(f"{describe(schedule, faults)}\nenough for that:\n{describe(smallest, find(smallest))}\n\n")
    return not faults


def find_in_memory(schedule: Schedule) -> list[str]:
    """Return what goes wrong in memory."""
    return find_faults(schedule, memory.play(schedule))


def find_with_processes(schedule: Schedule) -> list[str]:
    """Return what goes wrong with real processes."""
    fitted = processes.fit(schedule)
    with tempfile.TemporaryDirectory() as folder:
        report = processes.play(fitted, Path(folder))
    return find_faults(fitted, report, limit=processes.LIMIT, exact=False)


if __name__ == "__main__":
    sys.exit(main())

"""Play schedules in memory, and say what went wrong: `just chaos SEED [TILES] [--seeds COUNT]`."""

import argparse
import sys

from tests.chaos.memory import play
from tests.chaos.oracle import find_faults
from tests.chaos.replay import describe, shrink
from tests.chaos.schedule import Schedule, draw


def main() -> int:
    """Return 1 if anything went wrong."""
    parser = argparse.ArgumentParser(prog="just chaos", description=__doc__)
    parser.add_argument("seed", type=int)
    parser.add_argument("tiles", type=int, nargs="?", help="by default as many as the seed says")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds, from this one on")
    wanted = parser.parse_args()
    wrong = 0
    for seed in range(wanted.seed, wanted.seed + wanted.seeds):
        schedule = draw(seed, wanted.tiles)
        if _find(schedule):
            smallest = shrink(schedule, lambda smaller: bool(_find(smaller)))
            sys.stdout.write(f"{describe(schedule, _find(schedule))}\nenough for that:\n")
            sys.stdout.write(f"{describe(smallest, _find(smallest))}\n\n")
            wrong += 1
    sys.stdout.write(f"{wanted.seeds - wrong} of {wanted.seeds} runs went right\n")
    return min(wrong, 1)


def _find(schedule: Schedule) -> list[str]:
    return find_faults(schedule, play(schedule))


if __name__ == "__main__":
    sys.exit(main())

"""AWS requests per tile, counted at the embedded endpoint, polling included.

    just bench requests_per_tile [--workers 4] [--tiles 500] [--rounds 3]

Four cases: payloads and results of 50 kB and of 400 kB, by a function that does no work and by one that takes 0.2 s.
"""

import argparse
import time
from collections import Counter
from collections.abc import Iterator

import numpy as np

from asyncbatch import BatchExecutor

LIMITS = {(50_000, 0.0): 0.9, (400_000, 0.0): 5.0, (50_000, 0.2): 2.6, (400_000, 0.2): 6.6}


def echo(block: np.ndarray, seconds: float) -> np.ndarray:
    """Return the block after `seconds`."""
    time.sleep(seconds)
    return block


def blocks(count: int, size: int) -> Iterator[np.ndarray]:
    """Yield noise, which does not compress."""
    noise = np.random.default_rng(0)
    for _ in range(count):
        yield noise.integers(0, 256, size - 500, dtype=np.uint8)  # 500 bytes for what pickling adds


def measure(size: int, seconds: float, *, workers: int, tiles: int) -> tuple[Counter[str], float]:
    """Return the requests of a whole run less those that start it, and the tiles' wall time."""
    with BatchExecutor.local(workers=workers) as pool:
        list(pool.map(echo, [np.zeros(1)] * workers, [1.0] * workers))  # all are up
        before, started = Counter(pool.requests()), time.perf_counter()
        for _ in pool.map(echo, blocks(tiles, size), [seconds] * tiles):
            pass
        wall = time.perf_counter() - started
        return Counter(pool.requests()) - before, wall


def main() -> None:
    """Print a line for each case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--tiles", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3, help="the median counts: polls meet announcements by chance")
    wanted = parser.parse_args()
    for (size, seconds), limit in LIMITS.items():
        rounds = [measure(size, seconds, workers=wanted.workers, tiles=wanted.tiles) for _ in range(wanted.rounds)]
        counts, wall = sorted(rounds, key=lambda one: one[0].total())[len(rounds) // 2]
        totals = ", ".join(f"{one.total() / wanted.tiles:.2f}" for one, _ in rounds)
        each = ", ".join(f"{name} {count / wanted.tiles:.2f}" for name, count in sorted(counts.items()))
        total = counts.total() / wanted.tiles
        print(f"{size // 1000} kB, {seconds} s: {total:.2f} requests a tile (limit {limit}; rounds: {totals})")
        print(f"    {wall:.1f} s; {each}")


if __name__ == "__main__":
    main()

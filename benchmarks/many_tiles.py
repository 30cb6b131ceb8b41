"""Many tiny tiles through local mode: none lost or doubled, and main's memory flat.

    just bench many_tiles [--tiles 10000] [--workers 2]

Main's peak memory is compared with that of a process that runs 100 tiles.
"""

import argparse
import resource
import subprocess
import sys
import time

from asyncbatch import BatchExecutor


def square(number: int) -> tuple[int, int]:
    """Return a number and its square."""
    return number, number * number


def run(tiles: int, workers: int) -> None:
    """Run the tiles and print this process's peak memory in MB."""
    with BatchExecutor.local(workers=workers) as pool:
        started = time.perf_counter()
        results = pool.map(square, range(tiles))
        for number in range(tiles):
            if next(results) != (number, number * number):
                sys.exit(f"tile {number} came back wrong")
        if next(results, None) is not None:
            sys.exit("more results than tiles")
        rate = tiles / (time.perf_counter() - started)
        requests = sum(pool.requests().values()) / tiles
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{tiles} tiles right, {rate:.0f} a second, {requests:.2f} requests a tile, main's peak {peak:.1f} MB")


def main() -> None:
    """Compare many tiles with a few."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiles", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.alone:
        run(wanted.tiles, wanted.workers)
        return
    for tiles in (100, wanted.tiles):
        command = [sys.executable, __file__, "--alone", "--tiles", str(tiles), "--workers", str(wanted.workers)]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()

"""Wall time against the ideal, on an AWS-like endpoint whose answers take as long as the real one's.

    just bench latency http://127.0.0.1:PORT [--workers 8] [--tiles 64] [--seconds 0.2] [--rounds 5]

The endpoint is any emulator that models latency, for instance S3 30 ms and SQS 12 ms. A stack is deployed there,
workers are started on this machine, and once all are up the tiles are timed: 3 x 256 x 256 uint16 in, float32 out.
"""

import argparse
import json
import statistics
import time
from dataclasses import replace

import anyio
import numpy as np

from asyncbatch import BatchExecutor, Settings
from asyncbatch.aws.session import open_session
from asyncbatch.aws.stacks import Stacks
from asyncbatch.errors import StackNotFound

# Any stack with these outputs will do for workers of this machine; emulators that model latency know no Batch.
TEMPLATE = json.dumps(
    {
        "Resources": {
            "Bucket": {"Type": "AWS::S3::Bucket"},
            "In": {"Type": "AWS::SQS::Queue"},
            "Out": {"Type": "AWS::SQS::Queue"},
        },
        "Outputs": {
            "BatchBucket": {"Value": {"Ref": "Bucket"}},
            "BatchInQueue": {"Value": {"Ref": "In"}},
            "BatchOutQueue": {"Value": {"Ref": "Out"}},
        },
    }
)


async def deploy(settings: Settings) -> None:
    """Deploy the stack, if it is not there."""
    async with open_session(region=settings.region, endpoint_url=settings.endpoint_url) as session:
        stacks = await Stacks.open(session)
        try:
            await stacks.outputs(settings.stack)
        except StackNotFound:
            await stacks.create(settings.stack, TEMPLATE)


def work(block: np.ndarray, seconds: float) -> np.ndarray:
    """Return an index over the bands after `seconds`."""
    time.sleep(seconds)
    red, near = block[1].astype(np.float32), block[2].astype(np.float32)
    return (near - red) / np.maximum(near + red, 1)


def main() -> None:
    """Print each round's wall time and its ratio to the ideal."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("endpoint")
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--tiles", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=0.2)
    parser.add_argument("--rounds", type=int, default=5)
    wanted = parser.parse_args()
    settings = replace(Settings.from_environment(), endpoint_url=wanted.endpoint)
    anyio.run(deploy, settings)
    noise = np.random.default_rng(0)
    blocks = [noise.integers(0, 10_000, (3, 256, 256), dtype=np.uint16) for _ in range(wanted.tiles)]
    ideal = wanted.tiles * wanted.seconds / wanted.workers
    ratios = []
    with BatchExecutor(wanted.workers, launcher="subprocess", settings=settings) as pool:
        while pool.status().workers_up < wanted.workers:
            list(pool.map(work, blocks, [wanted.seconds] * wanted.workers))
        for _ in range(wanted.rounds):
            started = time.perf_counter()
            results = list(pool.map(work, blocks, [wanted.seconds] * wanted.tiles))
            wall = time.perf_counter() - started
            ratios.append(wall / ideal)
            print(f"{len(results)} tiles on {wanted.workers} workers: {wall:.2f} s, {wall / ideal:.2f} of the ideal")
    print(f"median {statistics.median(ratios):.2f} of the ideal {ideal:.2f} s")


if __name__ == "__main__":
    main()

"""The limits of pacing, in virtual time: how long runs take with the latencies of AWS, and how many requests they need.

Main and workers take no time for their own work here, so these figures show only when they send, receive and wait.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import anyio
import numpy as np
import pytest

from asyncbatch import Dispatcher, Settings
from asyncbatch.testing import MemoryAws, VirtualLoop

LATENCY = {"s3": 0.030, "sqs": 0.012}
"""Mean seconds of a request within a region. A quarter of it is the standard deviation."""

SMALL, LARGE = 10_000, 80_000
"""Bytes of a payload and of a result: in a message, and in the bucket."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a run of equal tiles took."""

    seconds: float
    requests: float
    """Requests to S3 and SQS for a tile."""


def vary_latency(monkeypatch: pytest.MonkeyPatch, latency: Mapping[str, float] = LATENCY) -> None:
    """Let each request take a different time, as with AWS."""
    chance = np.random.default_rng(0)

    def find_latency(_: object, operation: str) -> float:
        mean = latency.get(operation, latency.get(operation.partition(":")[0], 0.0))
        return max(0.4 * mean, chance.normal(mean, mean / 4))

    monkeypatch.setattr("asyncbatch.testing.client.Services._find_latency", find_latency)


def repeat(payload: bytes) -> bytes:
    return payload


def measure(*, tiles: int, seconds: float, size: int, workers: int, slots: int = 1) -> Measured:
    """Run tiles on workers that are up and have computed such tiles before."""
    found = []

    async def run() -> None:
        aws = MemoryAws(latency=LATENCY, duration=seconds, slots=slots)
        payload = np.random.default_rng(1).bytes(size)
        async with Dispatcher.in_memory(workers, settings=Settings(), aws=aws) as dispatcher:
            for count in (workers * slots, workers * slots, tiles):
                before, began = Counter(aws.requests), anyio.current_time()
                async for _ in dispatcher.map(repeat, [payload] * count):
                    pass
            sent = Counter(aws.requests) - before
            requests = sum(sent[operation] for operation in sent if operation.startswith(("s3:", "sqs:")))
            found.append(Measured(seconds=anyio.current_time() - began, requests=requests / tiles))

    anyio.run(run, backend_options={"loop_factory": VirtualLoop})
    return found[0]


@pytest.mark.parametrize(
    ("tiles", "seconds", "size", "workers", "ratio", "requests"),
    [
        (64, 0.2, LARGE, 8, 1.05, 7.0),
        (8, 0.2, LARGE, 8, 1.3, 4.0),
        (400, 0.2, LARGE, 8, 1.03, 6.6),
        (64, 1.0, LARGE, 8, 1.01, 7.0),
        (100, 0.2, LARGE, 4, 1.05, 6.6),
        (100, 0.2, SMALL, 4, 1.02, 2.6),
        (400, 0.05, LARGE, 8, 1.2, 5.5),
        (400, 0.03, LARGE, 4, 1.2, 5.0),
        (600, 0.01, SMALL, 4, 1.1, 0.25),
        (600, 0.005, SMALL, 4, 1.2, 0.2),
        (64, 0.01, SMALL, 4, 1.7, 0.5),  # no worker takes most of them
        (600, 0.01, LARGE, 4, 1.25, 1.7),
    ],
)
def test_tiles_with_work_keep_all_slots_busy(
    monkeypatch: pytest.MonkeyPatch,
    *,
    tiles: int,
    seconds: float,
    size: int,
    workers: int,
    ratio: float,
    requests: float,
) -> None:
    vary_latency(monkeypatch)
    measured = measure(tiles=tiles, seconds=seconds, size=size, workers=workers)
    assert measured.seconds < ratio * tiles * seconds / workers
    assert measured.requests < requests


def test_worker_with_several_slots_is_as_busy_as_several_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    vary_latency(monkeypatch)
    measured = measure(tiles=64, seconds=0.2, size=LARGE, workers=2, slots=4)
    assert measured.seconds < 1.15 * 64 * 0.2 / 8
    assert measured.requests < 5.5


def test_workers_hold_more_tiles_if_fetches_are_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    vary_latency(monkeypatch, {**LATENCY, "s3:GetObject": 0.3})
    measured = measure(tiles=200, seconds=0.2, size=LARGE, workers=8)
    assert measured.seconds < 1.25 * 200 * 0.2 / 8


@pytest.mark.parametrize(("size", "rate", "requests"), [(SMALL, 6_000, 0.1), (LARGE, 1_500, 0.4)])
def test_tiles_without_work_share_requests(
    monkeypatch: pytest.MonkeyPatch, *, size: int, rate: float, requests: float
) -> None:
    vary_latency(monkeypatch)
    measured = measure(tiles=800, seconds=0.0, size=size, workers=4)
    assert 800 / measured.seconds > rate
    assert measured.requests < requests

"""Estimates the wall time, requests and cost of a run before it is started. Does no I/O.

The constants were measured by `./dev bench`; docs/performance.md explains the formula.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from asyncbatch.batching.pacing import limit_group
from asyncbatch.batching.tuning import TUNING
from asyncbatch.stack.prices import price_requests
from asyncbatch.wire.messages import INLINE_LIMIT

Limit = Literal["workers", "main", "network"]

PATH: Final = 0.2
"""Round-trip time between main and a worker in seconds. Only the first tile waits for it."""

_MAIN: Final = (0.0006, 2.6e-9)
_WORKER: Final = (0.00145, 3.7e-9)
"""CPU seconds for a tile, and for each byte of its payload and result."""

_GROUPED: Final = {
    True: {"sqs:SendMessageBatch": 0.06, "sqs:ReceiveMessage": 0.04, "sqs:DeleteMessageBatch": 0.01},
    False: {"sqs:SendMessageBatch": 0.08, "sqs:ReceiveMessage": 0.07, "sqs:DeleteMessageBatch": 0.015},
}
"""Requests for a tile of a group, by whether payload and result are in messages. If not, each group adds a message."""

_FILLED: Final = 0.8
"""Exponent for the usual number of tiles in a group, since large groups are less often full. Measured: groups of at
most 2, 4, 6 and 20 tiles have 2, 2.8, 4.2 and 10 on average."""

_QUICK: Final = {
    True: {"sqs:SendMessageBatch": 0.15, "sqs:ReceiveMessage": 0.12, "sqs:DeleteMessageBatch": 0.1},
    False: {"sqs:SendMessageBatch": 0.25, "sqs:ReceiveMessage": 0.2, "sqs:DeleteMessageBatch": 0.12},
}
"""The same for other tiles that are done within `Tuning.batching_gap`."""

_SLOW: Final = {"sqs:SendMessageBatch": 1.1, "sqs:ReceiveMessage": 1.15, "sqs:DeleteMessageBatch": 0.2}
"""Requests for a slower tile, which a worker receives alone, and whose result it sends immediately."""

_WORKER_SECOND: Final = {"sqs:ChangeMessageVisibilityBatch": 1 / 10, "s3:HeadObject": 1 / 30}
"""Requests of a worker per second of a tile, to renew its lease and to check main's heartbeat."""

PART: Final = 16 * 2**20
WHOLE: Final = 32 * 2**20
"""As in `aws.transfers`: the size of a part of an object, and the size above which it is transferred in parts."""

_BASE64: Final = 4 / 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The run to estimate."""

    tiles: int
    seconds: float
    """Time that the function takes for a tile, on one vCPU."""
    payload: int
    """Bytes of a tile's pickled arguments."""
    result: int
    """Bytes of a tile's pickled result."""
    workers: int
    slots: int = 1
    """Number of tiles that a worker computes concurrently: one for each vCPU."""
    bandwidth: float = 125e6
    """Bytes per second between main and AWS, in each direction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """The estimate of a run, from the time that its workers are up."""

    wall: float
    """Seconds."""
    limit: Limit
    """What determines the wall time."""
    main_cpu: float
    """CPU seconds of main."""
    most_workers: int
    """Number of workers above which main or its network is the limit."""
    requests: Mapping[str, float]
    """By ``service:Operation``."""
    request_cost: float
    """In US dollars."""


def estimate_run(plan: Plan) -> Estimate:
    """Return the wall time, requests and cost of a run.

    All tiles take the same time. The time until workers are up is not included.
    """
    slot_seconds = plan.seconds + _price_cpu(_WORKER, plan)
    main_cpu = plan.tiles * _price_cpu(_MAIN, plan)
    times: dict[Limit, float] = {
        "workers": math.ceil(plan.tiles / (plan.workers * plan.slots)) * slot_seconds,
        "main": main_cpu,
        "network": plan.tiles * max(plan.payload, plan.result) / plan.bandwidth,
    }
    limit = max(times, key=lambda name: times[name])
    wall = PATH + plan.seconds * (limit != "workers") + times[limit]
    fastest = max(times["main"], times["network"]) / plan.tiles
    requests = _count_requests(plan, slot_seconds)
    message_bytes = 2 * _BASE64 * plan.tiles * sum(size for size in (plan.payload, plan.result) if size <= INLINE_LIMIT)
    return Estimate(
        wall=wall,
        limit=limit,
        main_cpu=main_cpu,
        most_workers=max(1, int(slot_seconds / fastest / plan.slots)),
        requests=requests,
        request_cost=price_requests(requests, message_bytes=message_bytes),
    )


def _price_cpu(prices: tuple[float, float], plan: Plan) -> float:
    """Return the CPU seconds for a tile."""
    tile, byte = prices
    return tile + byte * (plan.payload + plan.result)


def _count_requests(plan: Plan, slot_seconds: float) -> dict[str, float]:
    """Return the requests of all tiles by operation; those of uploads in parts cost as much as `PutObject`."""
    inline = max(plan.payload, plan.result) <= INLINE_LIMIT
    groups = 1 / _count_in_group(plan)
    if groups < 1:
        counts = dict(_GROUPED[inline])
        if not inline:
            counts["sqs:SendMessageBatch"] += groups
            counts["sqs:ReceiveMessage"] += groups / 2
    elif slot_seconds / plan.slots <= TUNING.batching_gap:
        counts = dict(_QUICK[inline])
    else:
        counts = dict(_SLOW)
    counts |= {name: each * plan.seconds / plan.slots for name, each in _WORKER_SECOND.items()}
    for size in (plan.payload, plan.result):
        if size > INLINE_LIMIT:
            parts = math.ceil(size / PART) if size > WHOLE else 0
            counts["s3:PutObject"] = counts.get("s3:PutObject", 0.0) + (parts + 2 if parts else groups)
            counts["s3:GetObject"] = counts.get("s3:GetObject", 0.0) + (parts or groups)
    return {name: plan.tiles * count for name, count in counts.items()}


def _count_in_group(plan: Plan) -> float:
    """Return how many tiles share a message, and an object for payloads and another for results."""
    if plan.payload > TUNING.group_payload:
        return 1.0
    most = limit_group(seconds=plan.seconds, tile_bytes=plan.payload + plan.result)
    return math.pow(max(1, int(most)), _FILLED)

from dataclasses import dataclass, replace

import pytest

from asyncbatch.aws import transfers
from asyncbatch.stack import estimate
from asyncbatch.stack.estimate import Plan, estimate_run


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A measurement by `./dev bench`. Without work, the wall time depends on the cores, shared by all processes."""

    plan: Plan
    requests: float
    """Requests of a tile."""
    wall: float | None = None
    main_cpu: float | None = None
    """CPU time of a tile in milliseconds."""


MEASURED = {
    "latency": Measured(
        plan=Plan(tiles=64, seconds=0.2, payload=393_216, result=262_144, workers=8), requests=6.3, wall=1.79
    ),
    "steady": Measured(
        plan=Plan(tiles=1000, seconds=0.2, payload=393_216, result=262_144, workers=8), requests=6.4, wall=25.5
    ),
    "small": Measured(
        plan=Plan(tiles=2000, seconds=0.0, payload=10_000, result=10_000, workers=4), requests=0.098, main_cpu=0.559
    ),
    "medium": Measured(
        plan=Plan(tiles=400, seconds=0.0, payload=400_000, result=400_000, workers=4), requests=0.642, main_cpu=2.6
    ),
    "money": Measured(plan=Plan(tiles=300, seconds=0.2, payload=10_000, result=10_000, workers=8), requests=2.48),
}


@pytest.mark.parametrize("measured", MEASURED.values(), ids=MEASURED)
def test_estimates_are_near_measurements(measured: Measured) -> None:
    found, tiles = estimate_run(measured.plan), measured.plan.tiles
    assert sum(found.requests.values()) / tiles == pytest.approx(measured.requests, rel=0.15)
    if measured.wall is not None:
        assert found.wall == pytest.approx(measured.wall, rel=0.15)
    if measured.main_cpu is not None:
        assert 1000 * found.main_cpu / tiles == pytest.approx(measured.main_cpu, rel=0.25)


SLOW = Plan(tiles=1000, seconds=30.0, payload=400_000, result=400_000, workers=10)


def test_slow_tiles_take_twice_as_long_on_half_the_workers() -> None:
    few, many = estimate_run(SLOW), estimate_run(replace(SLOW, workers=20))
    assert few.limit == many.limit == "workers"
    assert few.wall == pytest.approx(2 * many.wall, rel=0.01)
    assert few.requests == many.requests


def test_partial_last_round_takes_as_long_as_a_full_one() -> None:
    assert estimate_run(replace(SLOW, tiles=11)).wall == estimate_run(replace(SLOW, tiles=20)).wall


def test_slots_count_like_workers() -> None:
    assert estimate_run(replace(SLOW, slots=4)).wall == estimate_run(replace(SLOW, workers=40)).wall


def test_workers_beyond_the_rate_of_main_do_not_help() -> None:
    plan = replace(SLOW, tiles=1_000_000, bandwidth=1.25e9)
    enough = estimate_run(plan).most_workers
    below, above, far_above = (estimate_run(replace(plan, workers=int(enough * part))) for part in (0.9, 1.1, 2.0))
    assert (below.limit, above.limit, far_above.limit) == ("workers", "main", "main")
    assert above.wall == far_above.wall


def test_slow_network_limits_large_tiles() -> None:
    found = estimate_run(replace(SLOW, seconds=0.1, payload=32_000_000, bandwidth=10e6))
    assert found.limit == "network"
    assert found.wall == pytest.approx(1000 * 3.2, rel=0.01)


def test_bodies_above_the_inline_limit_need_requests_to_s3() -> None:
    small, medium, large = (
        estimate_run(replace(SLOW, payload=size, result=0)).requests for size in (72_000, 72_001, 40 * 2**20)
    )
    assert "s3:PutObject" not in small
    assert medium["s3:PutObject"] == medium["s3:GetObject"] == SLOW.tiles
    assert (large["s3:PutObject"], large["s3:GetObject"]) == (5 * SLOW.tiles, 3 * SLOW.tiles)


def test_short_tiles_share_objects() -> None:
    short = replace(SLOW, seconds=0.0)
    alone, together, enormous = (estimate_run(plan).requests for plan in (SLOW, short, replace(short, result=2**24)))
    assert together["s3:PutObject"] < alone["s3:PutObject"] / 5
    assert enormous["s3:PutObject"] == alone["s3:PutObject"]
    assert estimate_run(replace(short, payload=2**20 + 1)).requests["s3:PutObject"] == alone["s3:PutObject"]


def test_inline_bodies_cost_messages_by_their_size() -> None:
    empty, full = (estimate_run(replace(SLOW, payload=size, result=0)) for size in (0, 72_000))
    assert empty.requests == full.requests
    # Sent and received, as base64.
    assert full.request_cost - empty.request_cost == pytest.approx(1000 * 2 * 96_000 / 65_536 * 0.4e-6)


def test_parts_of_large_objects_equal_those_of_transfers() -> None:
    assert (estimate.PART, estimate.WHOLE) == (transfers.PART, transfers.WHOLE)

"""Tests of the cost of main's decisions about workers in a run: jobs, worker hours, attempts."""

from collections import deque
from itertools import count

from asyncbatch.launchers.batch import MACHINE_END
from tests.simulation.market import Machine, Market

HOUR = 3600.0


def tiles(number: int, seconds: float, *, first: int = 0) -> deque[tuple[int, float]]:
    return deque((index, seconds) for index in range(first, first + number))


def test_idle_workers_that_leave_during_long_tiles_are_not_replaced() -> None:
    market = Market(wanted=100, tiles=tiles(3, 2 * HOUR))
    market.add(tiles(97, 60.0, first=3))
    market.finish()
    assert len(market.jobs) == 100
    # 3 workers for two hours, and the others for their start, a minute of work and five idle minutes
    assert market.worker_hours < 3 * 2.2 + 97 * 0.2


def test_new_tiles_after_a_tail_start_the_wanted_number_of_workers() -> None:
    market = Market(wanted=100, tiles=tiles(3, 2 * HOUR))
    market.add(tiles(97, 60.0, first=3))
    market.wait(HOUR)
    assert market.up == 3
    market.add(tiles(1000, 60.0, first=100))
    market.wait(300.0)
    assert market.up == 100


def storm(*, draining: bool, machines: int = 25, workers: int = 100, vacating: float = MACHINE_END) -> Market:
    """Return a run whose first machines are all reclaimed within minutes."""
    places = count()

    def reclaim(_machine: Machine, now: float) -> float | None:
        place = next(places)
        return now + 900.0 + 30.0 * (place % 10) if place < machines else None

    market = Market(
        wanted=workers, tiles=tiles(2 * workers, HOUR), draining=draining, reclaim=reclaim, vacating=vacating
    )
    market.finish()
    return market


def test_series_of_reclaims_costs_one_job_per_worker_and_no_attempt() -> None:
    market = storm(draining=True)
    assert (market.lost, max(market.charged.values())) == ([], 1)
    assert len(market.jobs) == 200


def test_waiting_for_reclaimed_machines_saves_most_jobs_without_draining() -> None:
    market, hasty = storm(draining=False), storm(draining=False, vacating=0.0)
    assert (market.lost, max(market.charged.values())) == ([], 1)
    assert len(market.jobs) - 200 < (len(hasty.jobs) - 200) / 4


def test_reclaims_cost_tiles_no_attempts() -> None:
    market = storm(draining=True, machines=10 * 12, workers=40)
    assert max(market.begun.values()) > market.max_attempts
    assert (market.lost, max(market.charged.values())) == ([], 1)


def test_tiles_that_no_machine_can_complete_are_finally_lost() -> None:
    market = Market(wanted=2, tiles=tiles(2, HOUR), reclaim=lambda _machine, now: now + 900.0, max_attempts=3)
    market.finish()
    assert sorted(market.lost) == [0, 1]
    assert market.now < 3 * 86_400


def test_workers_that_batch_restarts_count_once_and_have_their_slots() -> None:
    starts = count()
    market = Market(
        wanted=100,
        tiles=tiles(200, HOUR),
        places=1,  # as on Fargate
        restarts=True,
        reclaim=lambda _machine, now: now + 900.0 if next(starts) < 100 else None,
    )
    market.wait(HOUR)
    assert (market.up, market.supervisor.up, market.supervisor.slots) == (100, 100, 100)
    market.finish()
    assert (len(market.jobs), market.lost) == (100, [])


def test_workers_that_wait_for_machines_are_not_requested_again() -> None:
    market = Market(wanted=100, tiles=tiles(400, 600.0), most=64)
    market.wait(1000.0)
    assert (market.up, len(market.jobs)) == (64, 100)
    market.finish()
    assert len(market.jobs) == 100

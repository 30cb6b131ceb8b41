"""Tests of a few runs with real processes and the same schedules."""

import signal
from pathlib import Path

import pytest

from tests.chaos import resuming
from tests.chaos.oracle import find_problems
from tests.chaos.processes import LIMIT, Account, fit, run_schedule
from tests.chaos.replay import describe
from tests.chaos.schedule import draw
from tests.chaos.seeds import SEEDS_OF_MAINS, SEEDS_OF_MINISTACK, SEEDS_OF_MOTO, SEEDS_OF_PROCESSES
from tests.integration.endpoint import MINISTACK, open_account, open_ministack

needs_ministack = pytest.mark.skipif(not MINISTACK.exists(), reason="needs ministack: ./dev ministack")


@pytest.mark.parametrize(
    ("seed", "account"),
    [
        *((seed, None) for seed in SEEDS_OF_PROCESSES),
        *((seed, open_account) for seed in SEEDS_OF_MOTO),
        *(pytest.param(seed, open_ministack, marks=needs_ministack) for seed in SEEDS_OF_MINISTACK),
    ],
)
def test_runs_with_processes_and_incidents_return_each_result_once(
    seed: int, account: Account | None, tmp_path: Path
) -> None:
    schedule = fit(draw(seed, tiles=12))
    report = run_schedule(schedule, tmp_path, account=account)
    problems = find_problems(schedule, report, limit=LIMIT, exact=False)
    assert not problems, describe(schedule, problems)


@pytest.mark.parametrize("seed", SEEDS_OF_MAINS)
def test_repeatedly_killed_main_recomputes_no_stored_tile(seed: int, tmp_path: Path) -> None:
    schedule = fit(draw(seed, tiles=12))
    lives, left = resuming.run_schedule(schedule, tmp_path, kills=2)
    assert [life.status for life in lives] == [-signal.SIGKILL, -signal.SIGKILL, 0]
    assert left == []
    assert lives[-1].stored > 0
    again = 2 * schedule.workers * schedule.slots  # tiles of workers with an incident
    assert all(life.begun <= 12 - life.stored + again for life in lives)

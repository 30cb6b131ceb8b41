"""A few runs with real processes, by the same schedules."""

from pathlib import Path

import pytest

from tests.chaos.oracle import find_faults
from tests.chaos.processes import LIMIT, fit, play
from tests.chaos.replay import describe
from tests.chaos.schedule import draw
from tests.chaos.seeds import SEEDS_OF_PROCESSES


@pytest.mark.parametrize("seed", SEEDS_OF_PROCESSES)
def test_whatever_goes_wrong_with_processes_each_tile_comes_back_right_once(seed: int, tmp_path: Path) -> None:
    schedule = fit(draw(seed, tiles=12))
    faults = find_faults(schedule, play(schedule, tmp_path), limit=LIMIT, exact=False)
    assert not faults, describe(schedule, faults)

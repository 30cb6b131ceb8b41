"""Hundreds of runs in memory, in each of which something else goes wrong: each tile comes back right, once."""

import pytest

from tests.chaos.memory import play
from tests.chaos.oracle import find_faults
from tests.chaos.replay import describe
from tests.chaos.schedule import draw
from tests.chaos.seeds import SEEDS

_TOGETHER = 25
"""Seeds that make one test."""


@pytest.mark.parametrize("first", SEEDS[::_TOGETHER])
def test_whatever_goes_wrong_each_tile_comes_back_right_once(first: int) -> None:
    for seed in SEEDS[first : first + _TOGETHER]:
        schedule = draw(seed)
        faults = find_faults(schedule, play(schedule))
        assert not faults, describe(schedule, faults)

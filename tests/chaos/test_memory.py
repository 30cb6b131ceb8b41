"""Hundreds of runs in memory, in each of which something else goes wrong: each tile comes back right, once."""

import pytest

from asyncbatch.testing.faults import Fault, Faults
from tests.chaos.memory import STEPS, play
from tests.chaos.oracle import find_faults
from tests.chaos.replay import describe, shrink
from tests.chaos.schedule import REQUESTS, Mishap, Schedule, draw
from tests.chaos.seeds import SEEDS

_TOGETHER = 25
"""Seeds that make one test."""


@pytest.mark.parametrize("first", SEEDS[::_TOGETHER])
def test_whatever_goes_wrong_each_tile_comes_back_right_once(first: int) -> None:
    for seed in SEEDS[first : first + _TOGETHER]:
        schedule = draw(seed)
        faults = find_faults(schedule, play(schedule))
        assert not faults, describe(schedule, faults)


def test_all_that_a_schedule_lets_go_wrong_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = set[tuple[str, str]]()
    hit = Faults.hit

    def note(faults: Faults, operation: str, about: str) -> Fault | None:
        asked.add((operation, about))
        return hit(faults, operation, about)

    monkeypatch.setattr(Faults, "hit", note)
    mishaps = (
        Mishap(kind="kill"),
        Mishap(kind="lose answer", operation="batch:SubmitJob"),
        Mishap(kind="drop", operation="sqs:SendMessageBatch", about="-task"),
    )
    play(Schedule(seed=0, tiles=8, durations=(40.0,), mishaps=mishaps))
    wanted = {*REQUESTS, *((step["operation"], step.get("about", "")) for step in STEPS.values())}
    missed = {
        (operation, about)
        for operation, about in wanted
        if not any(found == operation and about in what for found, what in asked)
    }
    assert missed == set()


def test_a_seed_is_the_same_run_each_time() -> None:
    schedule = draw(13692)
    first, second = play(schedule), play(schedule)
    assert (first.seconds, first.begun, first.actions) == (second.seconds, second.begun, second.actions)


def test_a_failure_is_reported_with_its_seed_and_smallest_schedule() -> None:
    schedule = draw(13692)
    drops = {mishap for mishap in schedule.mishaps if mishap.kind == "drop"}
    smallest = shrink(schedule, lambda smaller: drops <= set(smaller.mishaps))
    assert set(smallest.mishaps) == drops
    text = describe(smallest, ["wrong"])
    assert f"just chaos 13692 {schedule.tiles}" in text
    assert eval(text[text.index("Schedule(") :], {"Schedule": Schedule, "Mishap": Mishap}) == smallest  # noqa: S307 - as a reader does

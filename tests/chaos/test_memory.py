"""Hundreds of runs in memory, in each of which something else goes wrong: each tile comes back right, once."""

from typing import get_args

import pytest

from asyncbatch.testing.faults import Fault, Faults
from tests.chaos.memory import STEPS, play
from tests.chaos.oracle import find_faults
from tests.chaos.replay import describe, shrink
from tests.chaos.schedule import REQUESTS, Kind, Mishap, Schedule, draw
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


def test_every_kind_of_mishap_is_played() -> None:
    assert {mishap.kind for seed in SEEDS for mishap in draw(seed).mishaps} == set(get_args(Kind))


def test_a_main_that_is_killed_computes_again_only_what_its_full_disk_had_no_room_for() -> None:
    mishaps = (Mishap(kind="fill main's disk", after=2, times=1), Mishap(kind="kill main", at=5.0, seconds=10.0))
    schedule = Schedule(seed=0, tiles=8, durations=(2.0,), mishaps=mishaps)
    report = play(schedule)
    assert find_faults(schedule, report) == []
    assert report.actions["journal_failed"] == 1
    assert [(life.stored, life.written) for life in report.lives] == [(0, 2), (2, 6)]


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

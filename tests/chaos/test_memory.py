"""Tests of hundreds of runs in memory with different incidents: each result must be correct and returned once."""

from typing import get_args

import pytest

from asyncbatch.testing.faults import Fault, Faults
from tests.chaos.memory import STEPS, run_schedule
from tests.chaos.oracle import find_problems
from tests.chaos.replay import describe, shrink
from tests.chaos.schedule import REQUESTS, Incident, Kind, Schedule, draw
from tests.chaos.seeds import SEEDS

_TOGETHER = 25
"""Number of seeds per test."""


@pytest.mark.parametrize("first", SEEDS[::_TOGETHER])
def test_runs_with_incidents_return_each_result_once(first: int) -> None:
    for seed in SEEDS[first : first + _TOGETHER]:
        schedule = draw(seed)
        problems = find_problems(schedule, run_schedule(schedule))
        assert not problems, describe(schedule, problems)


def test_all_scheduled_incidents_can_occur(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = set[tuple[str, str]]()
    hit = Faults.hit

    def note(faults: Faults, operation: str, about: str) -> Fault | None:
        asked.add((operation, about))
        return hit(faults, operation, about)

    monkeypatch.setattr(Faults, "hit", note)
    incidents = (
        Incident(kind="kill"),
        Incident(kind="lose answer", operation="batch:SubmitJob"),
        Incident(kind="drop", operation="sqs:SendMessageBatch", about="-task"),
    )
    run_schedule(Schedule(seed=0, tiles=8, durations=(40.0,), incidents=incidents))
    wanted = {*REQUESTS, *((step["operation"], step.get("about", "")) for step in STEPS.values())}
    missed = {
        (operation, about)
        for operation, about in wanted
        if not any(found == operation and about in what for found, what in asked)
    }
    assert missed == set()


def test_every_kind_of_incident_occurs() -> None:
    assert {incident.kind for seed in SEEDS for incident in draw(seed).incidents} == set(get_args(Kind))


def test_killed_main_recomputes_only_what_its_full_disk_did_not_store() -> None:
    incidents = (Incident(kind="fill main's disk", after=2, times=1), Incident(kind="kill main", at=5.0, seconds=10.0))
    schedule = Schedule(seed=0, tiles=8, durations=(2.0,), incidents=incidents)
    report = run_schedule(schedule)
    assert find_problems(schedule, report) == []
    assert report.actions["journal_failed"] == 1
    assert [(life.stored, life.written) for life in report.lives] == [(0, 2), (2, 6)]


def test_runs_of_a_seed_are_reproducible() -> None:
    schedule = draw(13692)
    first, second = run_schedule(schedule), run_schedule(schedule)
    assert (first.seconds, first.begun, first.actions) == (second.seconds, second.begun, second.actions)


def test_failure_is_reported_with_its_seed_and_smallest_schedule() -> None:
    schedule = draw(13692)
    drops = {incident for incident in schedule.incidents if incident.kind == "drop"}
    smallest = shrink(schedule, lambda smaller: drops <= set(smaller.incidents))
    assert set(smallest.incidents) == drops
    text = describe(smallest, ["wrong"])
    assert f"just chaos 13692 {schedule.tiles}" in text
    assert eval(text[text.index("Schedule(") :], {"Schedule": Schedule, "Incident": Incident}) == smallest  # noqa: S307 - as a reader does

from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbatch.worker.attempts import MAX_RETURNS, Verdict, judge, needs_count


def test_first_delivery_starts_without_a_request() -> None:
    assert not needs_count(deliveries=1, max_attempts=5)
    assert judge(counted=None, deliveries=1, max_attempts=5) == Verdict(number=1, before=0)


def test_suspect_is_counted_before_it_starts() -> None:
    assert judge(counted=None, deliveries=2, max_attempts=5) == Verdict(number=2, count=2, before=1)


def test_tile_that_was_started_before_runs_alone() -> None:
    assert judge(counted=2, deliveries=3, max_attempts=5) == Verdict(number=3, count=3, alone=True, before=2)


def test_deliveries_of_a_tile_that_never_started_cost_one_attempt() -> None:
    assert judge(counted=None, deliveries=50, max_attempts=5) == Verdict(number=2, count=2, before=1)


def test_last_attempt_runs_alone() -> None:
    last = Verdict(number=2, count=2, alone=True, last=True, before=1)
    assert judge(counted=None, deliveries=2, max_attempts=2) == last
    assert judge(counted=4, deliveries=5, max_attempts=5).last


def test_no_attempt_is_left_after_the_last() -> None:
    assert judge(counted=5, deliveries=6, max_attempts=5) == Verdict(number=5, lost=True)


def test_copy_of_a_slow_tile_counts_as_an_attempt() -> None:
    assert needs_count(deliveries=1, max_attempts=5, copy=True)
    assert judge(counted=None, deliveries=1, max_attempts=5, copy=True) == Verdict(number=2, count=2, before=1)
    assert judge(counted=3, deliveries=1, max_attempts=5, copy=True).number == 4
    assert judge(counted=5, deliveries=1, max_attempts=5, copy=True) == Verdict(number=5, lost=True)
    assert judge(counted=None, readable=False, deliveries=1, max_attempts=5, copy=True).number == 2


def test_copy_that_busy_workers_return_is_not_counted() -> None:
    assert judge(counted=None, deliveries=40, max_attempts=5, copy=True) == Verdict(number=2, count=2, before=1)


def test_with_one_attempt_the_first_delivery_is_counted() -> None:
    assert needs_count(deliveries=1, max_attempts=1)
    only = Verdict(number=1, count=1, last=True, before=0)
    assert judge(counted=None, deliveries=1, max_attempts=1) == only
    assert judge(counted=None, deliveries=2, max_attempts=1) == only
    assert judge(counted=1, deliveries=2, max_attempts=1) == Verdict(number=1, lost=True)


@pytest.mark.parametrize(("deliveries", "lost"), [(2, False), (3, False), (4, True)])
def test_deliveries_count_where_attempts_are_unknown(deliveries: int, lost: bool) -> None:  # noqa: FBT001
    verdict = judge(counted=None, readable=False, deliveries=deliveries, max_attempts=3)
    assert verdict.lost is lost
    assert (verdict.count, verdict.before) == (None, None)


def test_returned_tile_is_not_counted() -> None:
    first = judge(counted=None, deliveries=1, max_attempts=2)
    again = judge(counted=first.before, deliveries=2, max_attempts=2)
    assert again == Verdict(number=1, count=1, before=0)
    assert judge(counted=again.before, deliveries=3, max_attempts=2) == again
    assert judge(counted=again.count, deliveries=4, max_attempts=2).last


@pytest.mark.parametrize("begun", [0, 1, 2])
def test_tile_that_is_returned_too_often_is_lost(begun: int) -> None:
    most = MAX_RETURNS + 1 + begun
    assert not judge(counted=begun, deliveries=most, max_attempts=5).lost
    assert judge(counted=begun, deliveries=most + 1, max_attempts=5) == Verdict(number=begun, lost=True)


@dataclass(kw_only=True)
class Run:
    """A run with tiles that kill every worker that computes them."""

    max_attempts: int
    slots: int
    poisons: set[int]
    tiles: list[int]
    random: Random
    deliveries: Counter[int] = field(default_factory=Counter)
    counts: dict[int, int] = field(default_factory=dict)
    leaves: float = 0.0
    """How often a worker must leave before it starts another tile."""
    begun: Counter[int] = field(default_factory=Counter)
    lost: set[int] = field(default_factory=set)

    def live(self) -> None:
        """Let a worker receive some tiles, and compute until it has none or dies."""
        held = self.random.sample(self.tiles, min(len(self.tiles), self.random.randint(1, 3 * self.slots)))
        self.deliveries.update(held)
        running: list[int] = []
        verdicts: dict[int, Verdict] = {}
        computed: list[int] = []
        while held or running or computed:
            if self.random.random() < self.leaves:
                self.leave(running, verdicts, held)
                self.tiles = [tile for tile in self.tiles if tile not in computed]
                return
            verdict = self.judge(held[0]) if held else None
            if verdict is not None and verdict.lost:
                self.lost.add(held[0])
                self.tiles.remove(held.pop(0))
                continue
            if computed and (not (held or running) or self.random.random() < 0.3):
                self.tiles.remove(computed.pop())  # its result is being sent
                continue
            alone = verdict is not None and verdict.alone
            room = 1 if alone else self.slots
            begins = verdict is not None and len(running) < room and (not running or self.random.random() < 0.7)
            if verdict is not None and begins:
                verdicts[held[0]] = verdict
                running.append(self.begin(held.pop(0), verdict))
                if not alone:
                    continue
            ended = running.pop(self.random.randrange(len(running)))
            if ended in self.poisons:
                return
            computed.append(ended)
            if begins and alone:
                self.tiles.remove(computed.pop())

    def leave(self, running: list[int], verdicts: dict[int, Verdict], held: list[int]) -> None:
        """Return the tiles of a worker that must leave."""
        for tile in running:
            self.begun[tile] -= 1
        for tile in (*running, *held):
            before = (verdicts[tile] if tile in running else self.judge(tile)).before
            if before is not None:
                self.counts[tile] = before

    def judge(self, tile: int) -> Verdict:
        return judge(counted=self.counts.get(tile), deliveries=self.deliveries[tile], max_attempts=self.max_attempts)

    def begin(self, tile: int, verdict: Verdict) -> int:
        if verdict.count is not None:
            self.counts[tile] = verdict.count
        self.begun[tile] += 1
        return tile


RUNS = {
    "slots": st.integers(1, 4),
    "tiles": st.integers(1, 15),
    "poisons": st.integers(0, 5),
    "random": st.randoms(use_true_random=False),
}


def finish(*, max_attempts: int, slots: int, tiles: int, poisons: int, random: Random, leaves: float = 0.0) -> Run:
    """Return a run after all its tiles have ended."""
    run = Run(
        max_attempts=max_attempts,
        slots=slots,
        poisons=set(random.sample(range(tiles), min(poisons, tiles))),
        tiles=list(range(tiles)),
        random=random,
        leaves=leaves,
    )
    for _ in range(5000):
        if not run.tiles:
            break
        run.live()
    assert not run.tiles
    assert all(begun <= max_attempts for tile, begun in run.begun.items() if tile in run.poisons)
    return run


@given(max_attempts=st.integers(2, 5), **RUNS)
def test_only_tiles_that_kill_workers_are_lost(max_attempts: int, **drawn: Any) -> None:  # noqa: ANN401 - of several kinds
    run = finish(max_attempts=max_attempts, **drawn)
    assert run.lost == run.poisons


LEAVES = {**RUNS, "random": st.integers(0, 1_000_000).map(Random)}
"""With values drawn by hypothesis, all workers could leave immediately, without end."""


@given(max_attempts=st.integers(1, 5), **LEAVES)
def test_leaving_workers_cost_no_attempts(max_attempts: int, **drawn: Any) -> None:  # noqa: ANN401 - of several kinds
    run = finish(max_attempts=max_attempts, leaves=0.2, **{**drawn, "poisons": 0})
    assert not run.lost
    assert set(run.begun.values()) == {1}


@given(max_attempts=st.integers(2, 5), **LEAVES)
def test_only_tiles_that_kill_workers_are_lost_if_workers_die_or_leave(max_attempts: int, **drawn: Any) -> None:  # noqa: ANN401 - of several kinds
    run = finish(max_attempts=max_attempts, leaves=0.1, **drawn)
    assert run.lost == run.poisons


@given(**RUNS)
def test_with_one_attempt_no_tile_starts_twice_or_is_lost_before_its_start(**drawn: Any) -> None:  # noqa: ANN401 - of several kinds
    run = finish(max_attempts=1, **drawn)
    assert set(run.begun.values()) <= {1}
    assert run.poisons <= run.lost <= set(run.begun)

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbatch.messages import BATCH_LIMIT
from asyncbatch.worker.appetite import Appetite

MIB = 2**20


def fed(slots: int, seconds: float, size: int) -> Appetite:
    appetite = Appetite(slots=slots)
    appetite.computed(seconds=seconds, size=size)
    return appetite


def test_until_a_tile_is_computed_a_worker_may_hold_two_for_each_slot() -> None:
    appetite = Appetite(slots=4)
    assert appetite.ahead() == 4
    assert [appetite.want(held) for held in (0, 4, 5, 7, 8)] == [4, 4, 3, 1, 0]


@pytest.mark.parametrize(
    ("slots", "seconds", "size", "ahead"),
    [
        (2, 5.0, MIB, 2),  # long tiles: one ahead for each slot
        (2, 0.02, 1_000, 10),  # a tenth of a second ahead
        (2, 0.0, 1_000, 40),  # no time at all: twenty for each slot
        (2, 0.0, 16 * MIB, 4),  # 64 MiB ahead
        (2, 0.0, 500 * MIB, 2),  # but never less than one for each slot
        (8, 0.0, 0, 160),
    ],
)
def test_tiles_held_ahead_follow_their_time_and_size(slots: int, seconds: float, size: int, ahead: int) -> None:
    assert fed(slots, seconds, size).ahead() == ahead


def test_one_request_brings_several_short_tiles() -> None:
    appetite = fed(2, 0.0, 1_000)
    assert appetite.want(held=0) == BATCH_LIMIT
    assert appetite.want(held=32) == BATCH_LIMIT
    assert appetite.want(held=33) == 0, "worth a request when ten can be had"


def test_long_tiles_are_left_to_workers_that_have_none() -> None:
    appetite = fed(2, 10.0, MIB)
    assert [appetite.want(held) for held in (0, 1, 2, 3, 4)] == [2, 2, 2, 1, 0]


@pytest.mark.parametrize(
    ("seconds", "held", "age", "pause"),
    [
        (10.0, 1, 0.0, 0.0),  # a slot is idle
        (10.0, 2, 0.0, 9.9),  # the next tile is wanted in 10 s, and takes 0.1 s to come
        (10.0, 2, 4.0, 5.9),
        (10.0, 2, 60.0, 0.0),  # later than expected
        (0.05, 2, 0.0, 0.0),  # of short tiles several are held
    ],
)
def test_the_next_long_tile_is_asked_for_just_in_time(seconds: float, held: int, age: float, pause: float) -> None:
    assert fed(2, seconds, MIB).hold_off(held=held, age=age) == pytest.approx(pause)


def test_until_a_tile_is_computed_a_worker_without_an_idle_slot_asks_for_none() -> None:
    appetite = Appetite(slots=2)
    assert [appetite.hold_off(held=held, age=0.0) for held in (1, 2)] == [0.0, math.inf]


def test_the_newest_tiles_count_most() -> None:
    appetite = fed(1, 10.0, MIB)
    for _ in range(40):
        appetite.computed(seconds=0.01, size=1_000)
    assert appetite.ahead() == 10


@pytest.mark.parametrize(
    ("seconds", "patience"),
    [(0.0, 0.5), (0.01, 0.5), (0.04, 0.5), (0.1, 0.2), (0.2, 0.1), (2.0, 0.01), (60.0, 0.0)],
)
def test_results_of_short_tiles_wait_for_others(seconds: float, patience: float) -> None:
    assert fed(2, seconds, MIB).patience(computing=1) == pytest.approx(patience, abs=0.001)


def test_the_first_results_wait_for_nothing() -> None:
    assert Appetite(slots=4).patience(computing=1) == 0.0


@pytest.mark.parametrize(("spare", "patience"), [(0.0, 0.0), (0.2, 0.2), (9.0, 0.5)])
def test_with_no_tile_in_hand_a_result_waits_as_long_as_main_allows(spare: float, patience: float) -> None:
    appetite = fed(2, 0.001, MIB)
    appetite.spare = spare
    assert appetite.patience(computing=0) == pytest.approx(patience)


@pytest.mark.parametrize(
    ("seconds", "spare", "rest"),
    [(0.001, 0.0, 0.0), (0.001, 0.2, 0.2), (0.001, 9.0, 0.3), (0.2, 9.0, 0.0)],
)
def test_an_empty_queue_is_left_alone_while_short_tiles_are_in_hand_and_main_has_time(
    seconds: float, spare: float, rest: float
) -> None:
    appetite = fed(2, seconds, MIB)
    appetite.spare = spare
    assert appetite.rest() == pytest.approx(rest)


@given(
    st.integers(1, 96),
    st.none() | st.tuples(st.floats(0, 1e5), st.integers(0, 2**40)),
    st.integers(0, 100) | st.integers(0, 2_500),
)
def test_a_worker_never_asks_for_more_than_it_may_and_never_starves(
    slots: int, computed: tuple[float, int] | None, held: int
) -> None:
    appetite = Appetite(slots=slots)
    if computed:
        appetite.computed(seconds=computed[0], size=computed[1])
    assert slots <= appetite.ahead() <= 2 * BATCH_LIMIT * slots
    want = appetite.want(held)
    assert 0 <= want <= BATCH_LIMIT
    assert want == 0 or held + want <= slots + appetite.ahead()
    assert want or held >= slots, "with a slot idle, it asks"

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbatch.batching.prefetch import Poll, Prefetch
from asyncbatch.wire.messages import BATCH_LIMIT

MIB = 2**20


def fed(slots: int, seconds: float, size: int, *, tiles: int = 1) -> Prefetch:
    """Return the prefetch of a worker that has received many messages with this number of tiles."""
    prefetch = Prefetch(slots=slots)
    for _ in range(40):
        prefetch.note_received(tiles=tiles)
    prefetch.note_computed(seconds=seconds, size=size)
    return prefetch


def sizes(prefetch: Prefetch, *held: int) -> list[int]:
    return [prefetch.next_poll(held=tiles, age=0.0).size for tiles in held]


def test_worker_takes_one_tile_per_slot_until_the_first_is_computed() -> None:
    assert sizes(Prefetch(slots=4), 0, 1, 3) == [4, 4, 4]
    assert Prefetch(slots=4).next_poll(held=4, age=100.0) == Poll(size=0, delay=math.inf)


@pytest.mark.parametrize(
    ("slots", "seconds", "size", "ahead"),
    [
        (2, 5.0, MIB, 2),  # long tiles: one for each slot
        (2, 0.02, 1_000, 10),  # tiles for a tenth of a second
        (2, 0.0, 1_000, 40),  # tiles without work: twenty for each slot
        (2, 0.0, 16 * MIB, 4),  # at most 64 MiB
        (2, 0.0, 500 * MIB, 2),  # but at least one for each slot
        (8, 0.0, 0, 160),
    ],
)
def test_prefetch_depends_on_time_and_size_of_tiles(slots: int, seconds: float, size: int, ahead: int) -> None:
    assert fed(slots, seconds, size).target() == ahead


@pytest.mark.parametrize(
    ("fetch", "ahead"),
    [
        (0.04, 2),  # one ahead for each slot
        (0.39, 6),  # 0.585 s ahead
        (10.0, 10),  # no more than a second
    ],
)
def test_prefetched_tiles_cover_the_duration_of_a_fetch(fetch: float, ahead: int) -> None:
    prefetch = fed(2, 0.2, MIB)
    prefetch.note_fetched(seconds=fetch)
    assert prefetch.target() == ahead


def test_long_tiles_with_slow_fetches_are_requested_earlier() -> None:
    prefetch = fed(2, 10.0, MIB)
    prefetch.note_fetched(seconds=0.4)
    assert prefetch.next_poll(held=2, age=0.0).delay == pytest.approx(9.4)


def test_one_request_receives_several_short_tiles() -> None:
    prefetch = fed(2, 0.0, 1_000)
    assert sizes(prefetch, 0, 32, 33) == [BATCH_LIMIT, BATCH_LIMIT, 0], "a request is made when ten tiles fit"


def test_long_tiles_are_left_to_idle_workers() -> None:
    prefetch = fed(2, 10.0, MIB)
    assert sizes(prefetch, 0, 1, 2, 3, 4) == [2, 2, 2, 1, 0]


@pytest.mark.parametrize(
    ("seconds", "held", "age", "delay"),
    [
        (10.0, 1, 0.0, 0.0),  # a slot is idle
        (10.0, 2, 0.0, 9.9),  # the next tile is needed in 10 s, and a request takes 0.1 s
        (10.0, 2, 4.0, 5.9),
        (10.0, 2, 60.0, 0.0),  # later than expected
        (0.05, 2, 0.0, 0.0),  # several short tiles are prefetched
    ],
)
def test_next_long_tile_is_requested_just_in_time(seconds: float, held: int, age: float, delay: float) -> None:
    assert fed(2, seconds, MIB).next_poll(held=held, age=age).delay == pytest.approx(delay)


def test_latest_tiles_have_the_most_weight() -> None:
    prefetch = fed(1, 10.0, MIB)
    for _ in range(40):
        prefetch.note_computed(seconds=0.01, size=1_000)
    assert prefetch.target() == 10


@pytest.mark.parametrize(
    ("slots", "seconds", "linger"),
    [(1, 0.0, 0.5), (1, 0.1, 0.5), (1, 0.2, 0.0), (4, 0.2, 0.5), (1, 60.0, 0.0)],
)
def test_frequent_results_linger(slots: int, seconds: float, linger: float) -> None:
    assert fed(slots, seconds, MIB).linger(held=1, storing=0) == linger


@pytest.mark.parametrize(
    ("seconds", "storing", "linger"),
    [
        (60.0, 0, 0.0),
        (0.001, 0, 0.002),  # it also waits for the response to the previous ones
        (0.001, 1, 0.1),
        (60.0, 1, 0.1),
    ],
)
def test_idle_worker_waits_only_for_results_under_way(seconds: float, storing: int, linger: float) -> None:
    assert fed(4, seconds, MIB).linger(held=0, storing=storing) == linger


def test_first_results_do_not_linger() -> None:
    assert Prefetch(slots=4).linger(held=1, storing=1) == 0.0


@given(
    st.integers(1, 96),
    st.none() | st.tuples(st.floats(0, 1e5), st.integers(0, 2**40)),
    st.integers(0, 100) | st.integers(0, 2_500),
)
def test_worker_requests_tiles_within_limits_and_for_every_idle_slot(
    slots: int, computed: tuple[float, int] | None, held: int
) -> None:
    prefetch = Prefetch(slots=slots)
    if computed:
        prefetch.note_computed(seconds=computed[0], size=computed[1])
    assert slots <= prefetch.target() <= 2 * BATCH_LIMIT * slots
    poll = prefetch.next_poll(held=held, age=0.0)
    assert 0 <= poll.size <= BATCH_LIMIT
    assert poll.size == 0 or held + poll.size <= slots + prefetch.target()
    assert held >= slots or (poll.size > 0 and poll.delay == 0.0), "an idle slot causes a request"


@pytest.mark.parametrize(
    ("tiles", "seconds", "held", "messages"),
    [
        (1, 0.0, 11, 10),
        (10, 0.0, 21, 2),  # two groups of ten
        (10, 0.0, 22, 0),  # not yet
        (10, 0.0, 0, 4),
        (3, 0.01, 6, 2),
        (3, 0.01, 7, 0),
        (1_000, 0.0, 0, 4),
    ],
)
def test_messages_with_several_tiles_are_requested_in_smaller_numbers(
    tiles: int, seconds: float, held: int, messages: int
) -> None:
    assert sizes(fed(1, seconds, 1_000, tiles=tiles), held) == [messages]


@pytest.mark.parametrize(("seconds", "messages"), [(0.001, 5), (0.01, 3), (0.02, 3), (0.1, 1)])
def test_worker_does_not_request_most_tiles_of_a_short_run_in_case_they_come_in_groups(
    seconds: float, messages: int
) -> None:
    prefetch = Prefetch(slots=1)
    prefetch.note_received(tiles=1)
    prefetch.note_computed(seconds=seconds, size=1_000)
    assert sizes(prefetch, 0) == [messages]

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbatch.batching import Linger, Mean, Throughput, hold_back, spare_time

gaps = st.floats(0, 10, allow_subnormal=False)


def lingering(*arrivals: float) -> Linger:
    linger = Linger(least=0.002)
    for now in arrivals:
        linger.arrived(now)
    return linger


def test_what_comes_alone_goes_as_soon_as_its_own_turn_is_over() -> None:
    assert lingering(5.0).due(patience=10) == 5.002


def test_company_is_waited_for_by_the_gap_between_arrivals() -> None:
    assert lingering(5.0, 5.1).due(patience=10) == pytest.approx(5.1 + 6 * 0.1)


def test_a_batch_waits_no_longer_than_patience_after_its_first() -> None:
    assert lingering(5.0, 5.1, 5.2).due(patience=0.3) == pytest.approx(5.3)


def test_where_no_company_is_expected_in_time_nothing_waits() -> None:
    assert lingering(5.0, 6.0).due(patience=0.5) == pytest.approx(6.002)


def test_without_patience_nothing_waits() -> None:
    assert lingering(5.0, 5.1).due(patience=0) == pytest.approx(5.102)


def test_the_gap_is_remembered_from_batch_to_batch() -> None:
    linger = lingering(5.0, 5.1)
    linger.sent()
    linger.arrived(5.2)
    assert linger.due(patience=10) == pytest.approx(5.2 + 6 * 0.1)


def test_patience_counts_from_the_first_of_each_batch() -> None:
    linger = lingering(5.0, 5.1)
    linger.sent()
    linger.arrived(5.2)
    assert linger.due(patience=0.15) == pytest.approx(5.35)


def test_what_is_not_urgent_waits_for_all_of_its_patience() -> None:
    linger = Linger(urgent=False)
    linger.arrived(5.0)
    assert linger.due(patience=10) == 15.0
    linger.arrived(14.0)
    assert linger.due(patience=10) == 15.0


@pytest.mark.parametrize("linger", [Linger(), lingering(5.0)])
def test_an_empty_batch_is_never_due(linger: Linger) -> None:
    linger.sent()
    with pytest.raises(ValueError, match="empty"):
        linger.due(patience=1)


@given(st.lists(gaps, min_size=1, max_size=20), st.floats(0, 20))
def test_a_batch_is_due_after_its_last_arrival_or_when_patience_ends(waits: list[float], patience: float) -> None:
    linger, now = Linger(), 0.0
    for wait in waits:
        now += wait
        linger.arrived(now)
    due = linger.due(patience)
    assert due >= min(now, waits[0] + patience)
    assert due <= max(now + linger.least, waits[0] + patience)


def test_a_mean_starts_at_the_first_and_follows_the_newest() -> None:
    mean = Mean()
    assert mean.value is None
    mean.add(8.0)
    assert mean.value == 8.0
    mean.add(4.0)
    assert mean.value == 7.0
    for _ in range(30):
        mean.add(1.0)
    assert mean.value == pytest.approx(1.0, abs=0.01)


def busy_from(start: float) -> Throughput:
    throughput = Throughput()
    throughput.begin(start)
    return throughput


def test_there_is_no_telling_a_rate_from_one_moment() -> None:
    assert Throughput().rate(5.0) is None
    throughput = busy_from(5.0)
    throughput.add(5.0)
    throughput.add(5.0)
    assert throughput.rate(5.0) is None


def test_there_is_no_rate_before_the_first_event() -> None:
    assert busy_from(5.0).rate(7.0) is None


@pytest.mark.parametrize("every", [0.01, 0.1, 0.5])
def test_a_steady_rate_is_found_soon_and_kept(every: float) -> None:
    throughput = busy_from(3.0)
    for place in range(1, int(20 / every)):
        now = 3.0 + place * every
        throughput.add(now)
        if now > 4.0:
            assert throughput.rate(now) == pytest.approx(1 / every, rel=0.3 * every + 0.01)


def test_a_burst_counts_by_time_and_not_by_the_gaps_in_it() -> None:
    throughput = busy_from(0.0)
    for second in range(20):
        for _ in range(10):
            throughput.add(second + 0.5)
    assert throughput.rate(20.0) == pytest.approx(10, rel=0.05)


def test_a_rate_falls_when_nothing_comes() -> None:
    throughput = busy_from(0.0)
    for place in range(100):
        throughput.add(place / 10)
    before, after, long_after = (throughput.rate(now) or inf for now in (10.0, 12.0, 30.0))
    assert after == pytest.approx(before * 0.368, rel=0.02)
    assert long_after < 0.01


def test_to_ask_for_a_rate_does_not_change_it() -> None:
    asked, left = busy_from(0.0), busy_from(0.0)
    for place in range(50):
        asked.add(place / 7)
        left.add(place / 7)
        asked.rate(place / 7 + 0.1)
    assert asked.rate(9.0) == pytest.approx(left.rate(9.0))


def test_what_was_before_a_busy_period_does_not_count() -> None:
    throughput = busy_from(0.0)
    for place in range(100):
        throughput.add(place / 100)
    assert throughput.count == 100
    throughput.begin(60.0)
    assert throughput.count == 0
    assert throughput.rate(61.0) is None
    for place in range(1, 11):
        throughput.add(61.0 + place)
    assert throughput.rate(71.0) == pytest.approx(1.0, rel=0.3)


@pytest.mark.parametrize(
    ("outstanding", "slots", "rate", "seconds", "spare"),
    [
        (116, 10, 8.0, 1.0, 3.125),  # 8 slots are busy, so 100 are backlog, 8 a second: 12.5 s, of which a quarter
        (120, 10, 80.0, 1.0, 0.3125),  # no more can be busy than there are
        (100, 10, 8.0, 0.0, 3.125),  # tiles without work: all are backlog
        (17, 10, 8.0, 1.0, 0.03125),
        (16, 10, 8.0, 1.0, 0.0),  # all of them are computing or prefetched
        (17, 10, 8.1, 1.0, 0.0),  # a slot that is busy at times is busy
        (0, 10, 8.0, 1.0, 0.0),
        (10_000, 10, 1.0, 1.0, 60.0),  # bounded
        (100, 10, None, 1.0, 0.0),
        (100, 10, 0.0, 1.0, 0.0),
        (100, 10, 8.0, None, 0.0),
        (100, 0, 8.0, 1.0, 0.0),  # no worker is up: one will be soon, and should find tiles
    ],
)
def test_main_waits_while_the_workers_have_a_backlog(
    outstanding: int, slots: int, rate: float | None, seconds: float | None, spare: float
) -> None:
    found = spare_time(outstanding=outstanding, slots=slots, rate=rate, seconds=seconds, most=60.0)
    assert found == pytest.approx(spare)


@pytest.mark.parametrize(
    ("sending", "rate", "seconds", "found"),
    [
        (10, 30.0, 0.001, 0.5),
        (64, 49.0, 0.04, 0.5),  # a little less than half of four slots busy
        (64, 51.0, 0.04, 0.0),  # a little more
        (64, 5.0, 0.06, 0.0),  # long tiles, at a run's beginning
        (9, 30.0, 0.001, 0.0),  # not enough on its way to fill a batch
        (64, None, 0.001, 0.0),
        (64, 30.0, None, 0.0),
    ],
)
def test_idle_workers_are_kept_waiting_only_where_main_can_t_feed_them(
    sending: int, rate: float | None, seconds: float | None, found: float
) -> None:
    assert hold_back(sending=sending, slots=4, rate=rate, seconds=seconds, batch=10, most=0.5) == found

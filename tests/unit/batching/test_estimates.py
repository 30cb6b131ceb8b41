from math import inf

import pytest

from asyncbatch.batching.estimates import Mean, Throughput


def test_mean_starts_at_the_first_value_and_follows_the_latest() -> None:
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


def test_events_at_one_time_have_no_rate() -> None:
    assert Throughput().rate(5.0) is None
    throughput = busy_from(5.0)
    throughput.add(5.0)
    throughput.add(5.0)
    assert throughput.rate(5.0) is None


def test_rate_is_unknown_before_the_first_event() -> None:
    assert busy_from(5.0).rate(7.0) is None


@pytest.mark.parametrize("every", [0.01, 0.1, 0.5])
def test_steady_rate_is_found_quickly(every: float) -> None:
    throughput = busy_from(3.0)
    for place in range(1, int(20 / every)):
        now = 3.0 + place * every
        throughput.add(now)
        if now > 4.0:
            assert throughput.rate(now) == pytest.approx(1 / every, rel=0.3 * every + 0.01)


def test_rate_of_a_burst_depends_on_its_duration() -> None:
    throughput = busy_from(0.0)
    for second in range(20):
        for _ in range(10):
            throughput.add(second + 0.5)
    assert throughput.rate(20.0) == pytest.approx(10, rel=0.05)


def test_rate_falls_without_events() -> None:
    throughput = busy_from(0.0)
    for place in range(100):
        throughput.add(place / 10)
    before, after, long_after = (throughput.rate(now) or inf for now in (10.0, 12.0, 30.0))
    assert after == pytest.approx(before * 0.368, rel=0.02)
    assert long_after < 0.01


def test_reading_a_rate_does_not_change_it() -> None:
    asked, left = busy_from(0.0), busy_from(0.0)
    for place in range(50):
        asked.add(place / 7)
        left.add(place / 7)
        asked.rate(place / 7 + 0.1)
    assert asked.rate(9.0) == pytest.approx(left.rate(9.0))


def test_idle_time_does_not_count() -> None:
    idle, busy = busy_from(0.0), busy_from(0.0)
    for place in range(1, 101):
        idle.add(place / 100)
        busy.add(place / 100)
    assert idle.count == 100
    idle.begin(60.0)
    assert idle.count == 0
    for place in range(1, 11):
        idle.add(60.0 + place / 20)
        busy.add(1.0 + place / 20)
    assert idle.count == 10
    assert idle.rate(60.5) == pytest.approx(busy.rate(1.5))

from hypothesis import given
from hypothesis import strategies as st

from asyncbatch.worker.leases import RENEWALS, Leases


def leases(**held: float) -> Leases:
    found = Leases(lease=30.0)
    for handle, now in held.items():
        found.hold(handle, now)
    return found


def test_a_lease_is_renewed_after_a_third_of_its_time() -> None:
    held = leases(a=100.0)
    assert held.due(109.9) == []
    assert held.due(110.0) == ["a"]


def test_what_was_renewed_is_not_due_again_at_once() -> None:
    held = leases(a=100.0)
    assert held.due(112.0) == ["a"]
    assert held.due(121.9) == []
    assert held.due(122.0) == ["a"]


def test_those_due_soon_come_along() -> None:
    held = leases(a=100.0, b=104.9, c=105.1)
    assert held.due(110.0) == ["a", "b"]
    assert held.due(115.0) == []
    assert held.due(115.2) == ["a", "b", "c"]


def test_nothing_is_renewed_before_one_is_due() -> None:
    assert leases(a=100.0, b=101.0).due(109.0) == []


def test_what_is_released_is_not_renewed() -> None:
    held = leases(a=100.0, b=100.0)
    held.release("a")
    assert held.due(110.0) == ["b"]
    assert held.held() == ["b"]


def test_to_release_twice_does_no_harm() -> None:
    held = leases(a=100.0)
    held.release("a")
    held.release("a")
    assert len(held) == 0


def test_to_hold_again_starts_anew() -> None:
    held = leases(a=100.0)
    held.hold("a", 105.0)
    assert held.due(110.0) == []
    assert len(held) == 1


@given(st.lists(st.floats(0, 100), min_size=1, max_size=20), st.floats(0.1, 2.4))
def test_looking_four_times_a_renewal_no_lease_comes_near_its_end(starts: list[float], step: float) -> None:
    """As the heartbeat does: every lease is renewed with at least half of its time left."""
    held = Leases(lease=30.0)
    ends = {str(place): start + 30.0 for place, start in enumerate(starts)}
    coming = sorted((start, str(place)) for place, start in enumerate(starts))
    now = 0.0
    while now < 200.0:
        while coming and coming[0][0] <= now:
            start, handle = coming.pop(0)
            held.hold(handle, start)
        for handle in held.due(now):
            assert ends[handle] - now >= 15.0
            ends[handle] = now + 30.0
        now += step
    assert all(end > now for end in ends.values())
    assert RENEWALS >= 3


def test_a_renewal_that_failed_is_due_again_at_once() -> None:
    held = leases(a=100.0, b=100.0)
    assert held.due(110.0) == ["a", "b"]
    held.release("b")
    held.retry(["a", "b"], 111.0)
    assert held.due(111.0) == ["a"]
    assert held.due(111.1) == []

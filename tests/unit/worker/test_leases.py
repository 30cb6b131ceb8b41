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


def test_renewed_lease_is_not_immediately_due() -> None:
    held = leases(a=100.0)
    assert held.due(112.0) == ["a"]
    assert held.due(121.9) == []
    assert held.due(122.0) == ["a"]


def test_leases_that_are_due_soon_are_renewed_together() -> None:
    held = leases(a=100.0, b=104.9, c=105.1)
    assert held.due(110.0) == ["a", "b"]
    assert held.due(115.0) == []
    assert held.due(115.2) == ["a", "b", "c"]


def test_nothing_is_renewed_before_one_is_due() -> None:
    assert leases(a=100.0, b=101.0).due(109.0) == []


def test_released_lease_is_not_renewed() -> None:
    held = leases(a=100.0, b=100.0)
    held.release("a")
    assert held.due(110.0) == ["b"]
    assert held.held() == ["b"]


def test_lease_can_be_released_twice() -> None:
    held = leases(a=100.0)
    held.release("a")
    held.release("a")
    assert len(held) == 0


def test_holding_again_restarts_the_lease() -> None:
    held = leases(a=100.0)
    held.hold("a", 105.0)
    assert held.due(110.0) == []
    assert len(held) == 1


@given(st.lists(st.floats(0, 100), min_size=1, max_size=20), st.floats(0.1, 2.4))
def test_no_lease_nearly_expires_with_four_checks_per_renewal(starts: list[float], step: float) -> None:
    """With the heartbeat's interval, every lease is renewed with at least half of its time left."""
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


def test_failed_renewal_is_due_immediately() -> None:
    held = leases(a=100.0, b=100.0)
    assert held.due(110.0) == ["a", "b"]
    held.release("b")
    held.retry(["a", "b"], 111.0)
    assert held.due(111.0) == ["a"]
    assert held.due(111.1) == []

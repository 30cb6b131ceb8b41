from hypothesis import given
from hypothesis import strategies as st

from asyncbatch.main.reconcile import LOOKS_IN_QUIET, Reconciler


def test_queues_are_only_checked_after_a_quiet_time() -> None:
    reconciler = Reconciler(quiet=30.0)
    reconciler.note_news(100.0)
    assert not reconciler.is_quiet(129.9)
    assert reconciler.is_quiet(130.0)


def test_tiles_are_lost_when_the_queues_stay_empty() -> None:
    reconciler = Reconciler(quiet=30.0)
    assert [reconciler.is_lost(0, 40.0 + look) for look in range(LOOKS_IN_QUIET)] == [False] * (LOOKS_IN_QUIET - 1) + [
        True
    ]
    assert reconciler.last_news == 40.0 + LOOKS_IN_QUIET - 1
    assert not reconciler.is_lost(0, 50.0)


@given(st.lists(st.integers(0, 2), max_size=20))
def test_message_in_a_queue_restarts_the_checks(counts: list[int]) -> None:
    reconciler = Reconciler(quiet=30.0)
    running = 0
    for count in counts:
        running = 0 if count else running + 1
        assert reconciler.is_lost(count, 0.0) is (running == LOOKS_IN_QUIET)
        running %= LOOKS_IN_QUIET


def test_received_message_restarts_the_checks() -> None:
    reconciler = Reconciler(quiet=30.0)
    for _ in range(LOOKS_IN_QUIET - 1):
        assert not reconciler.is_lost(0, 1.0)
    reconciler.note_news(2.0)
    assert not reconciler.is_lost(0, 3.0)

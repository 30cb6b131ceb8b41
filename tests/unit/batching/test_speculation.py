"""Tests of when a tile is considered slow, and how many copies are sent."""

import pytest

from asyncbatch.batching.speculation import Gains, Outstanding, Speculation
from asyncbatch.batching.tuning import Tuning

TUNING = Tuning(delay=1.0, least_known=5, usual_share=0.9, slow_factor=1.5)


def outstanding(tile: int, sent: float = 0.0, program: str = "p") -> Outstanding:
    return Outstanding(tile=tile, program=program, sent=sent)


def make_policy(*seconds: float) -> Speculation:
    """Return a policy with known durations of tiles; the last result arrived at 90 s."""
    policy = Speculation(tuning=TUNING)
    for each in seconds or (10.0,) * 5:
        policy.note_result("p", each, now=90.0)
    return policy


def note_idle(policy: Speculation, idle: int, *, now: float) -> None:
    policy.note_load(now, slots=10, in_flight=9 - idle, copies=1, waiting=0)


def test_tile_is_slow_when_a_slot_is_idle_for_longer_than_tiles_take() -> None:
    policy = make_policy()
    note_idle(policy, 2, now=100.0)
    assert policy.find_next_time([outstanding(7)]) == 116.0
    assert policy.find_due([outstanding(7)], now=115.9) == []
    assert policy.find_due([outstanding(7)], now=116.0) == [7]


def test_duration_of_a_tile_starts_when_it_is_sent() -> None:
    """It does not begin when slots become idle, which may be long before the first tile."""
    policy = make_policy()
    note_idle(policy, 2, now=100.0)
    assert policy.find_next_time([outstanding(7, sent=150.0)]) == 166.0


def test_work_for_all_slots_resets_the_idle_time() -> None:
    policy = make_policy()
    note_idle(policy, 1, now=100.0)
    note_idle(policy, 0, now=110.0)
    note_idle(policy, 1, now=112.0)
    note_idle(policy, 3, now=113.0)
    assert policy.find_next_time([outstanding(7)]) == 128.0


@pytest.mark.parametrize(("idle", "copied"), [(1, [8]), (2, [8, 7]), (5, [8, 7, 9])])
def test_each_idle_slot_gets_one_copy_of_the_slowest_tiles(idle: int, copied: list[int]) -> None:
    policy = make_policy()
    note_idle(policy, idle, now=50.0)
    tiles = [outstanding(7, sent=60.0), outstanding(8, sent=55.0), outstanding(9, sent=70.0)]
    assert policy.find_due(tiles, now=1000.0) == copied


def test_few_slow_tiles_do_not_change_the_usual_duration() -> None:
    policy = make_policy(*[1.0] * 9, 100.0)
    note_idle(policy, 1, now=0.0)
    assert policy.find_next_time([outstanding(7)]) == 2.5


def test_many_slow_tiles_change_the_usual_duration() -> None:
    policy = make_policy(*[1.0] * 8, 100.0, 100.0)
    note_idle(policy, 1, now=0.0)
    assert policy.find_next_time([outstanding(7)]) == 151.0


def test_few_tiles_and_other_programs_give_no_usual_duration() -> None:
    policy = make_policy(1.0, 1.0, 1.0, 1.0)
    note_idle(policy, 1, now=0.0)
    assert policy.find_next_time([outstanding(7)]) is None
    policy.note_result("p", 1.0, now=0.0)
    assert policy.find_next_time([outstanding(7)]) == 2.5
    assert policy.find_next_time([outstanding(7, program="q")]) is None


def test_durations_of_old_tiles_and_programs_are_dropped() -> None:
    policy = make_policy(*[1000.0] * 64, *[1.0] * 64)
    note_idle(policy, 1, now=0.0)
    assert policy.find_next_time([outstanding(7)]) == 2.5
    for number in range(16):
        policy.note_result(f"other {number}", 1.0, now=0.0)
    assert policy.find_next_time([outstanding(7)]) is None


@pytest.mark.parametrize(("in_flight", "rounds"), [(4, 1), (5, 2), (8, 2), (9, 3)])
def test_tile_is_slow_without_results_when_all_in_flight_could_be_done(in_flight: int, rounds: int) -> None:
    """Tiles may wait behind a slow tile on its worker while other slots are idle."""
    policy = make_policy()
    policy.note_load(100.0, slots=4, in_flight=in_flight, copies=0, waiting=0)
    time = 90.0 + rounds * 16.0
    assert policy.find_next_time([outstanding(7)]) == time
    tiles = [outstanding(tile) for tile in range(6)]
    assert policy.find_due(tiles, now=time) == [0, 1, 2, 3], "at most one per slot"
    policy.note_result("p", 10.0, now=time - 1.0)
    policy.note_load(time, slots=4, in_flight=in_flight, copies=0, waiting=0)
    assert policy.find_due(tiles, now=time) == []


@pytest.mark.parametrize("load", [{"waiting": 1}, {"slots": 0}])
def test_no_tile_is_slow_while_tiles_wait_or_no_worker_is_up(load: dict[str, int]) -> None:
    policy = make_policy()
    policy.note_load(100.0, **{"slots": 4, "in_flight": 3, "copies": 0, "waiting": 0} | load)
    assert policy.find_next_time([outstanding(7)]) is None
    assert policy.find_due([outstanding(7)], now=1e6) == []


def test_gain_of_a_copy_is_the_time_until_its_original_answers() -> None:
    gains = Gains()
    gains.note_copy(7, now=100.0)
    gains.note_copy(8, now=110.0)
    gains.note_original(7, now=130.0)
    gains.note_original(7, now=150.0)  # once more
    gains.note_original(9, now=150.0)  # had no copy, or was faster
    gains.note_original(8, now=115.0)
    assert gains.measure(now=500.0) == 35.0


def test_gain_of_a_copy_counts_until_the_end_if_its_original_does_not_answer() -> None:
    gains = Gains()
    gains.note_copy(7, now=100.0)
    assert gains.measure(now=160.0) == 60.0
    gains.note_end(now=170.0)
    gains.note_original(7, now=180.0)
    assert gains.measure(now=500.0) == 70.0

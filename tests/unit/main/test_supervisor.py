from collections.abc import Iterable

import pytest

from asyncbatch.errors import AccessDenied, AwsBusy, VersionMismatch, WorkersLost, WorkersNotStarted
from asyncbatch.launchers.base import WorkerState
from asyncbatch.main.supervisor import Retries, Supervisor, compute_workers
from asyncbatch.wire.messages import TERMINATED, Goodbye, Hello

HEARING = 2.0
"""Seconds in which the last messages of ended workers may arrive."""


def supervisor(wanted: int = 2, *, up: Iterable[str] = (), slots: int = 1) -> Supervisor:
    found = Supervisor(wanted=wanted, start_timeout=60.0, started=1000.0)
    for worker in up:
        found.note_hello(hello(worker, slots=slots))
    return found


def hello(worker: str, *, slots: int = 1, refusal: str = "") -> Hello:
    return Hello(worker=worker, slots=slots, versions={}, refusal=refusal)


def goodbye(worker: str, reason: str = "idle") -> Goodbye:
    return Goodbye(worker=worker, reason=reason, tiles=0, busy_seconds=0.0, requests={})


def states(
    *, alive: Iterable[str] = (), dead: Iterable[str] = (), killed: Iterable[str] = (), detail: str = ""
) -> list[WorkerState]:
    return [
        *(WorkerState(worker=worker, alive=False, killed=True, detail=detail) for worker in killed),
        *(WorkerState(worker=worker, alive=True, detail=detail) for worker in alive),
        *(WorkerState(worker=worker, alive=False, detail=detail) for worker in dead),
    ]


def test_slots_are_counted_for_workers_that_are_up() -> None:
    found = supervisor()
    assert (found.came_up, found.up, found.slots) == (False, 0, 0)
    found.note_hello(hello("a", slots=4))
    found.note_hello(hello("b", slots=2))
    assert (found.came_up, found.up, found.slots) == (True, 2, 6)
    found.note_goodbye(goodbye("a"))
    assert (found.came_up, found.up, found.slots) == (True, 1, 2)


def test_duplicate_hello_counts_once() -> None:
    assert supervisor(up=["a", "a"], slots=4).slots == 4


def test_worker_with_a_lost_or_late_hello_is_up() -> None:
    found = supervisor(1)
    assert not found.note_alive("a")
    assert (found.came_up, found.up) == (True, 1)
    found.note_hello(hello("a", slots=4))
    assert (found.up, found.slots) == (1, 4)
    assert found.count_missing(states(dead=["a"]), 1001.0, backlog=1000) == 1
    assert not found.note_alive("a")
    assert found.up == 0, "its message arrived after its end"


def test_workers_that_ended_while_main_slept_are_replaced_and_not_lost() -> None:
    found = supervisor(2)
    found.pardon(states(dead=["a", "b"]), 1100.0)
    assert found.count_missing(states(dead=["a", "b"]), 1100.0, backlog=1000) == 2
    assert found.count_missing(states(alive=["c", "d"], dead=["a", "b"]), 1110.0, backlog=1000) == 0
    assert found.count_missing(states(dead=["a", "b", "c", "d"]), 1120.0, backlog=1000) == 0
    with pytest.raises(WorkersNotStarted):
        found.count_missing(states(dead=["a", "b", "c", "d"]), 1120.0 + HEARING + 1, backlog=1000)


def test_ended_worker_has_no_slots() -> None:
    found = supervisor(up=["a", "b"], slots=4)
    found.count_missing(states(alive=["a"], dead=["b"]), 1001.0, backlog=1000)
    assert (found.up, found.slots) == (1, 4)


def test_goodbye_without_a_hello_is_accepted() -> None:
    found = supervisor()
    found.note_goodbye(goodbye("a"))
    assert found.up == 0


def test_hello_after_the_goodbye_adds_no_slots() -> None:
    found = supervisor()
    found.note_goodbye(goodbye("a"))
    found.note_hello(hello("a", slots=4))
    assert (found.came_up, found.up, found.slots) == (True, 0, 0)


def test_hello_after_the_end_adds_no_slots() -> None:
    found = supervisor()
    found.count_missing(states(dead="a"), 1001.0, backlog=1000)
    found.note_hello(hello("a", slots=4))
    assert (found.came_up, found.up, found.slots) == (True, 0, 0)


def test_worker_that_rejects_the_run_ends_it() -> None:
    found = supervisor()
    with pytest.raises(VersionMismatch, match="worker a: main runs another Python"):
        found.note_hello(hello("a", refusal="main runs another Python"))
    assert not found.came_up


@pytest.mark.parametrize(
    ("alive", "dead", "missing"), [("abc", "", 0), ("ab", "c", 1), ("", "abc", 3), ("ade", "bc", 0)]
)
def test_ended_workers_are_missing_until_they_are_replaced(alive: str, dead: str, missing: int) -> None:
    assert supervisor(wanted=3, up=["a"]).count_missing(states(alive=alive, dead=dead), 1001.0, backlog=1000) == missing


def test_missing_workers_are_counted_until_they_are_replaced() -> None:
    found = supervisor(wanted=2, up=["a", "b"])
    assert [found.count_missing(states(alive="a", dead="b"), now, backlog=1000) for now in (1001.0, 1002.0)] == [1, 1]
    assert found.count_missing(states(alive="ac", dead="b"), 1003.0, backlog=1000) == 0


@pytest.mark.parametrize("goodbye_first", [True, False])
def test_workers_that_leave_are_replaced_and_not_lost(*, goodbye_first: bool) -> None:
    found = supervisor(wanted=1, up=["0"])
    for place in range(200):
        ended = [str(worker) for worker in range(place + 1)]
        if goodbye_first:
            found.note_goodbye(goodbye(str(place)))
        assert found.count_missing(states(dead=ended), 1001.0, backlog=1000) == 1
        found.note_goodbye(goodbye(str(place)))


def lose_workers(found: Supervisor, count: int, *, start: int = 0) -> None:
    """Lose several workers in sequence; each is replaced by the next."""
    for place in range(start, start + count):
        found.count_missing(
            states(alive=[str(place + 1)], dead=[str(worker) for worker in range(place + 1)]), 1001.0, backlog=1000
        )


@pytest.mark.parametrize(("wanted", "limit"), [(1, 8), (2, 11), (10, 35)])
def test_too_many_losses_without_a_tile_done_end_the_run(wanted: int, limit: int) -> None:
    found = supervisor(wanted, up=["0"])
    lose_workers(found, limit)
    with pytest.raises(WorkersLost, match=f"^{limit + 1} workers were lost and no tile was done in between: worker 0"):
        lose_workers(found, 1, start=limit)


def test_done_tile_resets_the_count_of_losses() -> None:
    found = supervisor(1, up=["0"])
    lose_workers(found, 8)
    found.note_progress()
    lose_workers(found, 8, start=8)
    with pytest.raises(WorkersLost):
        lose_workers(found, 1, start=16)


def test_loss_counts_once() -> None:
    found = supervisor(1, up=["0"])
    for _ in range(100):
        assert found.count_missing(states(alive="1", dead="0"), 1001.0, backlog=1000) == 0


def test_workers_that_exit_are_not_replaced_before_any_came_up() -> None:
    assert supervisor(wanted=3).count_missing(states(alive="a", dead="bc"), 1001.0, backlog=1000) == 0


def test_killed_workers_are_replaced_before_any_came_up() -> None:
    found = supervisor(wanted=3)
    assert found.count_missing(states(alive="a", dead="b", killed="c"), 1001.0, backlog=1000) == 1
    assert found.count_missing(states(alive="ad", dead="b", killed="c"), 1002.0, backlog=1000) == 0


def test_replacement_of_a_killed_worker_has_the_start_timeout() -> None:
    found = supervisor(wanted=1)
    assert found.count_missing(states(killed="a"), 1050.0, backlog=1000) == 1
    assert found.count_missing(states(alive="b", killed="a"), 1110.0, backlog=1000) == 0
    with pytest.raises(WorkersNotStarted):
        found.count_missing(states(alive="b", killed="a"), 1110.5, backlog=1000)


def test_replacements_are_limited_before_any_worker_came_up() -> None:
    found = supervisor(wanted=1)
    for count in range(1, 9):
        assert found.count_missing(states(killed=map(str, range(count))), 1001.0, backlog=1000) == 1
    assert found.count_missing(states(killed=map(str, range(9))), 1001.0, backlog=1000) == 0
    with pytest.raises(WorkersNotStarted):
        found.count_missing(states(killed=map(str, range(9))), 1001.1 + HEARING, backlog=1000)


@pytest.mark.parametrize("last", ["result", "goodbye"])
def test_any_message_of_a_worker_counts_as_its_first(last: str) -> None:
    found = supervisor(wanted=1)
    assert found.count_missing(states(dead="a"), 1010.0, backlog=1000) == 0
    if last == "result":
        found.note_alive("a")
    else:
        found.note_goodbye(goodbye("a"))
    assert found.count_missing(states(dead="a"), 1020.0, backlog=1000) == 1


def test_run_ends_if_no_worker_is_up_within_the_start_timeout() -> None:
    found = supervisor(wanted=2)
    assert found.count_missing(states(alive="ab"), 1060.0, backlog=1000) == 0
    with pytest.raises(WorkersNotStarted, match=r"^no worker came up within 60 s: worker a is running; worker b"):
        found.count_missing(states(alive="ab", detail="is running"), 1060.5, backlog=1000)


def test_run_ends_immediately_only_if_no_worker_can_start() -> None:
    found = supervisor(wanted=2)
    blocked = WorkerState(worker="a", alive=True, blocked=True, detail="waits: no such role")
    assert found.count_missing([blocked, WorkerState(worker="b", alive=True)], 1001.0, backlog=1000) == 0
    assert found.count_missing([blocked, blocked], 1002.0, backlog=1000) == 0
    with pytest.raises(WorkersNotStarted, match="no worker came up: worker a waits: no such role"):
        found.count_missing([blocked, blocked], 1004.5, backlog=1000)
    assert (
        supervisor(wanted=2, up=["b"]).count_missing(
            [blocked, WorkerState(worker="b", alive=True)], 1009.0, backlog=1000
        )
        == 0
    )


def test_start_timeout_applies_before_a_launch() -> None:
    found = supervisor()
    assert found.count_missing([], 1059.0, backlog=1000) == 0
    with pytest.raises(WorkersNotStarted, match=r"within 60 s: none was started$"):
        found.count_missing([], 1061.0, backlog=1000)


def test_advice_ends_every_message_about_workers_that_did_not_start() -> None:
    found = Supervisor(wanted=1, start_timeout=60.0, started=1000.0, advice="; see the manual")
    with pytest.raises(WorkersNotStarted, match=r"; see the manual$"):
        found.count_missing([], 1061.0, backlog=1000)
    with pytest.raises(WorkersNotStarted, match=r"; see the manual$"):
        found.note_failure(found.starts, OSError("no"), 1061.0)
    found = Supervisor(wanted=1, start_timeout=60.0, started=1000.0, advice="; see the manual")
    assert found.count_missing(states(dead="a"), 1001.0, backlog=1000) == 0
    with pytest.raises(WorkersNotStarted, match=r"; see the manual$"):
        found.count_missing(states(dead="a"), 1001.1 + HEARING, backlog=1000)


def test_first_worker_ends_the_start_timeout() -> None:
    assert supervisor(up=["a"]).count_missing(states(alive="ab"), 9999.0, backlog=1000) == 0


def test_last_messages_are_awaited_when_all_workers_have_ended() -> None:
    found = supervisor()
    ended = states(dead="ab", detail="exited with status 1")
    assert found.count_missing(ended, 1010.0, backlog=1000) == 0
    assert found.count_missing(ended, 1010.0 + HEARING, backlog=1000) == 0
    with pytest.raises(WorkersNotStarted, match=r"^no worker came up: worker a exited with status 1; worker b exited"):
        found.count_missing(ended, 1010.1 + HEARING, backlog=1000)


def test_wait_for_last_messages_restarts_with_another_worker() -> None:
    found = supervisor()
    assert found.count_missing(states(dead="a"), 1010.0, backlog=1000) == 0
    assert found.count_missing(states(dead="a", alive="b"), 1015.0, backlog=1000) == 0
    assert found.count_missing(states(dead="ab"), 1020.0, backlog=1000) == 0
    with pytest.raises(WorkersNotStarted):
        found.count_missing(states(dead="ab"), 1020.1 + HEARING, backlog=1000)


def test_hello_among_the_last_messages_counts() -> None:
    found = supervisor(wanted=2)
    assert found.count_missing(states(dead="ab"), 1010.0, backlog=1000) == 0
    found.note_hello(hello("a"))
    assert found.count_missing(states(dead="ab"), 1020.0, backlog=1000) == 2


def test_three_of_many_workers_are_described_dead_ones_first() -> None:
    with pytest.raises(WorkersNotStarted, match=r"s: worker d; worker e; worker a; and 2 more$"):
        supervisor(5).count_missing(states(alive="abc", dead="de"), 1061.0, backlog=1000)


@pytest.mark.parametrize(
    ("backlog", "slots", "workers"),
    [(0, 1, 0), (1, 1, 1), (3, 1, 2), (64, 1, 32), (64, 4, 8), (999, 1, 50)],
)
def test_number_of_workers_follows_the_tiles(backlog: int, slots: int, workers: int) -> None:
    assert compute_workers(backlog, slots=slots, most=50) == workers


def test_more_workers_are_started_immediately_before_one_is_up() -> None:
    supervisor = Supervisor(wanted=0, start_timeout=10)
    assert supervisor.resize(2) == 2
    assert supervisor.resize(5) == 3
    assert supervisor.resize(1) == 0
    assert supervisor.wanted == 5


def test_missing_workers_are_counted_from_those_alive_once_one_is_up() -> None:
    supervisor = Supervisor(wanted=0, start_timeout=10)
    supervisor.resize(2)
    supervisor.note_hello(hello("0"))
    assert supervisor.resize(6) == 0
    alive = [WorkerState(worker=str(worker), alive=True) for worker in range(2)]
    assert supervisor.count_missing(alive, 1.0, backlog=1000) == 4
    supervisor.resize(1)
    assert supervisor.count_missing(alive, 2.0, backlog=1000) < 1


@pytest.mark.parametrize(("slots", "started"), [(1, 97), (4, 97)])
def test_idle_workers_that_leave_are_only_replaced_for_new_tiles(slots: int, started: int) -> None:
    names = [str(worker) for worker in range(100)]
    found = supervisor(wanted=100, up=names, slots=slots)
    for name in names[3:]:
        found.note_goodbye(goodbye(name))
    left = states(alive=names[:3], dead=names[3:])
    starts = sum(max(0, found.count_missing(left, 1300.0 + 5 * look, backlog=3)) for look in range(1000))
    assert starts == 0  # before, each poll replaced all 97 workers
    assert found.count_missing(left, 9000.0, backlog=1000 * slots) == started


def test_workers_that_all_left_are_replaced_according_to_the_tiles() -> None:
    found = supervisor(wanted=10, up=["a"], slots=4)
    found.note_goodbye(goodbye("a"))
    assert found.count_missing(states(dead="a"), 1001.0, backlog=8) == 2


@pytest.mark.parametrize("seen_before", [True, False])
def test_terminated_worker_is_replaced_when_its_machine_has_ended(*, seen_before: bool) -> None:
    found = supervisor(wanted=2, up=["a", "b"])
    found.vacating = 120.0
    if seen_before:
        assert found.count_missing(states(alive="ab"), 1000.0, backlog=1000) == 0
    for _ in range(2):  # queues can deliver a message twice
        found.note_goodbye(goodbye("a", TERMINATED))
    looks = [found.count_missing(states(alive="b", dead="a"), now, backlog=1000) for now in (1005.0, 1124.9, 1125.0)]
    assert looks == [0, 0, 1]
    found.note_goodbye(goodbye("a", TERMINATED))
    assert found.count_missing(states(alive="b", dead="a"), 1130.0, backlog=1000) == 1


def test_terminated_worker_that_has_not_ended_counts_once() -> None:
    found = supervisor(wanted=3, up=["a", "b"])
    found.vacating = 120.0
    found.note_goodbye(goodbye("a", TERMINATED))
    assert found.count_missing(states(alive="ab"), 1005.0, backlog=1000) == 1


def test_terminated_worker_without_a_reclaim_is_replaced_immediately() -> None:
    found = supervisor(wanted=1, up=["a"])
    found.note_goodbye(goodbye("a", TERMINATED))
    assert found.count_missing(states(dead="a"), 1005.0, backlog=1000) == 1


def test_only_the_last_attempt_of_a_restarted_worker_has_slots() -> None:
    found = supervisor(wanted=1, up=["j:3"], slots=4)
    found.note_goodbye(goodbye("j:3", TERMINATED))
    found.note_hello(hello("j:3.2", slots=4))
    assert found.count_missing(states(alive=["j:3.2"], dead=["j:3"]), 1005.0, backlog=1000) == 0
    assert (found.up, found.slots) == (1, 4)


DENIED = AccessDenied("SubmitJob: not permitted")


def test_pauses_between_launches_grow_to_a_minute_until_a_success() -> None:
    retries = Retries()
    assert [retries.note_failure(1000.0) for _ in range(10)] == [0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert retries.due == 1060.0
    retries.note_success()
    assert (retries.failures, retries.due) == (0, 0.0)
    assert retries.note_failure(2000.0) == 0.5


@pytest.mark.parametrize("what", ["starts", "checks"])
def test_failed_launch_does_not_end_a_run_with_a_worker_up(what: str) -> None:
    found = supervisor(up=["a"])
    for _ in range(100):
        found.note_failure(getattr(found, what), DENIED, 9999.0)


def test_failed_launch_does_not_end_a_run_with_a_starting_worker_before_the_timeout() -> None:
    found = supervisor()
    found.note_started(1)
    for _ in range(100):
        found.note_failure(found.checks, DENIED, 1001.0)
    with pytest.raises(AccessDenied):
        found.note_failure(found.checks, DENIED, 1061.0)


@pytest.mark.parametrize("error", [DENIED, WorkersNotStarted("no such interpreter")])
def test_repeated_launch_failures_without_a_worker_end_the_run_with_the_error(
    error: Exception,
) -> None:
    found = supervisor()
    for _ in range(2):
        found.note_failure(found.starts, error, 1001.0)
    with pytest.raises(type(error)) as raised:
        found.note_failure(found.starts, error, 1001.0)
    assert raised.value is error


def test_other_error_of_a_launcher_is_the_cause() -> None:
    found, error = supervisor(), KeyError("image")
    for _ in range(2):
        found.note_failure(found.starts, error, 1001.0)
    with pytest.raises(WorkersNotStarted) as raised:
        found.note_failure(found.starts, error, 1001.0)
    assert raised.value.__cause__ is error


def test_repeated_launch_failures_after_all_workers_ended_end_the_run() -> None:
    found = supervisor(up=["a"])
    assert found.count_missing(states(dead="a"), 1001.0, backlog=1000) == 2
    for _ in range(2):
        found.note_failure(found.starts, DENIED, 1001.0)
    with pytest.raises(WorkersLost) as raised:
        found.note_failure(found.starts, DENIED, 1001.0)
    assert raised.value.__cause__ is DENIED


def test_blocked_workers_do_not_count_as_starting() -> None:
    found = supervisor()
    found.count_missing([WorkerState(worker="a", alive=True, blocked=True)], 1001.0, backlog=1000)
    for _ in range(2):
        found.note_failure(found.starts, DENIED, 1001.0)
    with pytest.raises(AccessDenied):
        found.note_failure(found.starts, DENIED, 1001.0)


def test_workers_of_a_failed_launch_are_missing() -> None:
    found = supervisor(wanted=3)
    found.note_failure(found.starts, DENIED, 1001.0)
    assert found.count_missing(states(alive="a"), 1001.0, backlog=1000) == 2
    found.note_started(2)
    assert found.count_missing(states(alive="a"), 1002.0, backlog=1000) == 0


def test_successful_poll_resets_failed_polls() -> None:
    found = supervisor(up=["a"])
    found.note_failure(found.checks, DENIED, 1001.0)
    found.count_missing(states(alive="a"), 1002.0, backlog=1000)
    assert (found.checks.failures, found.checks.due) == (0, 0.0)


def test_time_behind_other_jobs_does_not_count_for_the_start_timeout() -> None:
    found = supervisor(2)
    queued = [WorkerState(worker="a", alive=True, queued=True)]
    for now in range(1000, 2000, 5):
        found.count_missing(queued, float(now), backlog=9)
    waiting = [WorkerState(worker="a", alive=True)]
    found.count_missing(waiting, 2000.0, backlog=9)
    with pytest.raises(WorkersNotStarted):
        found.count_missing(waiting, 2100.0, backlog=9)


def test_outage_of_a_launcher_is_retried_without_a_worker() -> None:
    found = supervisor(2)
    for now in range(1000, 1600, 60):
        found.note_failure(found.starts, AwsBusy("throttled"), float(now), borne=600.0)
    with pytest.raises(AwsBusy):
        found.note_failure(found.starts, AwsBusy("throttled"), 1600.0, borne=600.0)

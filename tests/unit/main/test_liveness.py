from asyncbatch.launchers.base import WorkerState
from asyncbatch.main.liveness import Liveness
from asyncbatch.main.supervisor import Supervisor
from asyncbatch.wire.messages import Goodbye, Hello

LIMIT = 10.0


def make_supervisor(*up: str, wanted: int = 2) -> Supervisor:
    supervisor = Supervisor(wanted=wanted, start_timeout=60.0, hearing=Liveness(limit=LIMIT))
    for worker in up:
        supervisor.note_hello(Hello(worker=worker, slots=4, versions={}))
    return supervisor


def check_workers(supervisor: Supervisor, *alive: str, dead: tuple[str, ...] = ()) -> int:
    states = [WorkerState(worker=worker, alive=worker not in dead) for worker in (*alive, *dead)]
    return supervisor.count_missing(states, 0.0, backlog=1000)


def test_silent_worker_is_not_up_and_is_replaced() -> None:
    supervisor = make_supervisor("a", "b")
    assert supervisor.listen(LIMIT) == []
    supervisor.note_alive("a")
    assert supervisor.listen(1.0) == ["b"]
    assert (supervisor.up, supervisor.slots) == (1, 4)
    assert check_workers(supervisor, "a", "b") == 1
    assert check_workers(supervisor, "a", "b", "c") == 0


def test_silence_of_a_worker_is_reported_once() -> None:
    supervisor = make_supervisor("a")
    assert supervisor.listen(LIMIT + 1) == ["a"]
    assert supervisor.listen(LIMIT + 1) == []


def test_silent_worker_is_up_again_after_a_message() -> None:
    supervisor = make_supervisor("a", "b")
    supervisor.listen(LIMIT + 1)
    assert supervisor.note_alive("a")
    assert not supervisor.note_alive("a")
    assert (supervisor.up, supervisor.slots) == (1, 4)
    assert check_workers(supervisor, "a", "b") == 1
    assert supervisor.listen(LIMIT) == []


def test_late_heartbeat_of_a_worker_that_left_is_ignored() -> None:
    supervisor = make_supervisor("a", "b")
    supervisor.note_goodbye(Goodbye(worker="a", reason="idle", tiles=0, busy_seconds=0.0, requests={}))
    check_workers(supervisor, dead=("b",))
    for worker in "ab":
        assert not supervisor.note_alive(worker)
    assert supervisor.up == 0
    assert supervisor.listen(LIMIT + 1) == []


def test_a_silent_worker_that_ends_is_lost_once() -> None:
    supervisor = make_supervisor("a", wanted=1)
    for _ in range(9):  # one more than the limit of losses
        supervisor.listen(LIMIT + 1)
        check_workers(supervisor, dead=("a",))
    assert supervisor.up == 0

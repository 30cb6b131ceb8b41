from asyncbatch.main.crew import Crew, WorkerState
from asyncbatch.main.hearing import Hearing
from asyncbatch.messages import Goodbye, Hello

LIMIT = 10.0


def make_crew(*up: str, wanted: int = 2) -> Crew:
    crew = Crew(wanted=wanted, start_timeout=60.0, hearing=Hearing(limit=LIMIT))
    for worker in up:
        crew.hello(Hello(worker=worker, slots=4, versions={}))
    return crew


def look(crew: Crew, *alive: str, dead: tuple[str, ...] = ()) -> int:
    states = [WorkerState(worker=worker, alive=worker not in dead) for worker in (*alive, *dead)]
    return crew.missing(states, 0.0, backlog=1000)


def test_a_worker_that_says_nothing_is_not_up_and_is_replaced() -> None:
    crew = make_crew("a", "b")
    assert crew.listen(LIMIT) == []
    crew.heard("a")
    assert crew.listen(1.0) == ["b"]
    assert (crew.up, crew.slots) == (1, 4)
    assert look(crew, "a", "b") == 1
    assert look(crew, "a", "b", "c") == 0


def test_a_worker_is_silent_once() -> None:
    crew = make_crew("a")
    assert crew.listen(LIMIT + 1) == ["a"]
    assert crew.listen(LIMIT + 1) == []


def test_a_silent_worker_that_is_heard_of_again_is_up_again() -> None:
    crew = make_crew("a", "b")
    crew.listen(LIMIT + 1)
    assert crew.heard("a")
    assert not crew.heard("a")
    assert (crew.up, crew.slots) == (1, 4)
    assert look(crew, "a", "b") == 1
    assert crew.listen(LIMIT) == []


def test_whoever_has_left_or_never_came_is_not_up_by_a_late_heartbeat() -> None:
    crew = make_crew("a", "b")
    crew.goodbye(Goodbye(worker="a", reason="idle", tiles=0, busy_seconds=0.0, requests={}))
    look(crew, dead=("b",))
    for worker in "abc":
        assert not crew.heard(worker)
    assert crew.up == 0
    assert crew.listen(LIMIT + 1) == []


def test_a_silent_worker_that_ends_is_lost_once() -> None:
    crew = make_crew("a", wanted=1)
    for _ in range(9):  # what one worker may be lost in a row, and one more
        crew.listen(LIMIT + 1)
        look(crew, dead=("a",))
    assert crew.up == 0

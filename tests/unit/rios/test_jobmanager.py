import gc
import threading
from typing import Any

import pytest

from asyncbatch.errors import ProgramError
from tests.unit.rios.standins import Pool


class Other:
    factor = 1


class Job:
    """A tile as RIOS 1.4 passes it."""

    def __init__(self, number: int, otherargs: Other | None) -> None:
        self.number = number
        self.otherargs = otherargs
        self.stream: object = threading.Lock()

    def prepareForPickling(self) -> "Job":
        self.stream = None
        return self

    def getFunctionParams(self) -> tuple[Any, ...]:
        return (self.number, [], self.otherargs)

    def getFunctionResult(self, params: tuple[Any, ...]) -> list[Any]:
        outputs: list[Any] = params[1]
        return outputs


def scaled(number: int, outputs: list[Any], other: Other) -> None:
    outputs.append((number * other.factor, threading.current_thread() is threading.main_thread()))
    other.factor += 100


def manager(count: int) -> Any:
    from asyncbatch.rios.jobmanager import AWSBatchJobManager

    return AWSBatchJobManager(count)


def jobs(count: int, other: Other | None) -> list[Job]:
    return [Job(number, other) for number in range(count)]


def test_main_computes_the_first_tile_and_workers_the_others(pools: list[Pool]) -> None:
    found = manager(4).runSubJobs(scaled, jobs(4, Other()))
    assert found == [[(0, True)], [(1, False)], [(2, False)], [(3, False)]]
    assert pools[0].pool_options.workers == 3


def test_number_of_workers_can_be_set(pools: list[Pool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASYNCBATCH_WORKERS", "8")
    manager(64)
    assert pools[0].pool_options.workers == 8


def test_program_is_reused_while_function_and_arguments_are_unchanged(pools: list[Pool]) -> None:
    other = Other()

    def still(number: int, outputs: list[Any], _other: Other) -> None:
        outputs.append(number)

    made = manager(3)
    for _ in range(3):
        made.runSubJobs(still, jobs(3, other))
    assert len(pools[0].sent) == 6
    assert len(set(pools[0].sent)) == 1


def test_changes_of_arguments_by_the_tile_of_main_are_in_the_next_round(pools: list[Pool]) -> None:
    other, made = Other(), manager(2)
    assert made.runSubJobs(scaled, jobs(2, other))[1] == [(1, False)]
    assert made.runSubJobs(scaled, jobs(2, other))[1] == [(101, False)]
    assert len(set(pools[0].sent)) == 2


def test_tiles_do_not_see_changes_of_arguments_by_others(pools: list[Pool]) -> None:
    found = manager(5).runSubJobs(scaled, jobs(5, Other()))
    assert [number for [(number, _)] in found] == [0, 1, 2, 3, 4]
    assert pools


def test_pool_is_reused_by_the_next_apply(pools: list[Pool]) -> None:
    for _ in range(3):
        made = manager(3)
        made.runSubJobs(scaled, jobs(3, Other()))
        made.finalise()
        made.finalise()  # a second call is accepted
    assert [pool.ended for pool in pools] == [[]]


def failing(number: int, outputs: list[Any], _other: Other | None) -> None:
    outputs.append(number)
    if number == failing.at:  # type: ignore[attr-defined]
        raise ValueError(f"number {number}")


@pytest.mark.parametrize("number", [0, 2])
def test_pool_ends_after_an_error(pools: list[Pool], number: int) -> None:
    vars(failing)["at"] = number
    with pytest.raises(ValueError, match=f"number {number}"):
        manager(3).runSubJobs(failing, jobs(3, None))
    assert pools[0].ended == [True]


def test_an_interrupt_ends_the_pool(pools: list[Pool], monkeypatch: pytest.MonkeyPatch) -> None:
    from asyncbatch.rios import jobmanager

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(jobmanager, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        manager(3).runSubJobs(scaled, jobs(3, Other()))
    assert pools[0].ended == [True]


def test_deleted_manager_ends_the_pool(pools: list[Pool]) -> None:
    made = manager(3)
    del made
    gc.collect()
    for thread in threading.enumerate():
        if thread.name == "asyncbatch-end":
            thread.join()
    assert pools[0].ended == [True]


def test_arguments_that_can_not_be_pickled_are_named_and_the_pool_ends(pools: list[Pool]) -> None:
    other = Other()
    other.lock = threading.Lock()  # type: ignore[attr-defined]
    with pytest.raises(ProgramError, match="lock"):
        manager(3).runSubJobs(scaled, jobs(3, other))
    assert pools[0].ended == [True]


def call_of(function: Any, *, exact: bool = True, workers: int | None = 5) -> tuple[Any, Any]:
    from asyncbatch.rios.calls import Call, Tally

    tally = Tally()
    return Call(function, tally=tally, workers=workers, exact=exact), tally


def run_manager(rounds: list[list[Job]], function: Any) -> list[list[Any]]:
    from asyncbatch.rios.jobmanager import RunJobManager

    made: Any = RunJobManager(max(map(len, rounds)))
    found = [made.runSubJobs(function, tiles) for tiles in rounds]
    made.finalise()
    return found


def counted(number: int, outputs: list[Any], other: Other) -> None:
    outputs.append((number, threading.current_thread() is threading.main_thread()))
    other.factor += number


def test_under_run_workers_compute_all_tiles_and_sums_are_merged(pools: list[Pool]) -> None:
    other, (call, tally) = Other(), call_of(counted)
    other.factor = 1
    found = run_manager([jobs(4, other), jobs(1, other)], call)
    assert found == [[[(number, False)] for number in range(4)], [[(0, False)]]]
    assert (tally.workers, tally.main) == (5, 0)
    assert other.factor == 1, "only after the call"
    call.settle(other)
    assert other.factor == 1 + 0 + 1 + 2 + 3 + 0
    assert [pool.pool_options.workers for pool in pools] == [5]
    assert pools[0].ended == []


def test_under_run_dependent_tiles_end_the_call_and_not_the_pool(pools: list[Pool]) -> None:
    from asyncbatch.rios.calls import DependentBlocks

    def numbered(_number: int, outputs: list[Any], other: Other) -> None:
        outputs.append(other.factor)
        other.factor += 1

    other = Other()
    other.factor = 1
    with pytest.raises(DependentBlocks) as caught:
        run_manager([jobs(3, other)], call_of(numbered)[0])
    assert caught.value.names == {"factor"}
    assert pools[0].ended == []


def test_arguments_that_can_not_be_pickled_are_reported_before_workers_start(pools: list[Pool]) -> None:
    other = Other()
    other.lock = threading.Lock()  # type: ignore[attr-defined]
    with pytest.raises(ProgramError, match="lock"):
        run_manager([jobs(3, other)], call_of(scaled)[0])
    assert pools == []


def test_call_counts_tiles_of_workers_and_main(pools: list[Pool]) -> None:
    call, tally = call_of(scaled, exact=False, workers=None)
    made = manager(4)
    made.runSubJobs(call, jobs(4, Other()))
    assert (tally.workers, tally.main) == (3, 1)
    assert pools[0].pool_options.workers == 3


def test_unreturned_changes_on_workers_are_logged_once(pools: list[Pool], caplog: pytest.LogCaptureFixture) -> None:
    def kept(number: int, outputs: list[Any], other: Other) -> None:
        outputs.append(number * other.factor)

    other = Other()
    other.factor = 1
    for function in (kept, scaled):
        made = manager(4)
        for _ in range(3):
            made.runSubJobs(function, jobs(4, other))
        made.finalise()
    assert [vars(record)["action"] for record in caplog.records] == ["otherargs_not_returned"]
    assert "factor" in caplog.text
    assert pools


def test_call_is_pickled_like_the_function_of_the_user() -> None:
    from asyncbatch.wire import codec

    call, _ = call_of(scaled)
    assert codec.decode(codec.join(codec.encode(call))) is scaled

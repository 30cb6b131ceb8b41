"""Tests of the contract of `concurrent.futures`, adopted from CPython's tests (test/test_concurrent_futures).

Not adopted, and why:

- An exception of the function is the cause of a `TileError`, which names the tile and the worker.
- After ``shutdown(cancel_futures=True)`` no tile finishes, since main can't know which tiles have started.
- Thread names and counts, reuse of idle threads, ``max_tasks_per_child``, start methods and initializers only apply to
  pools of threads or processes.
"""

import signal
import time
import weakref
from collections.abc import Iterator
from concurrent import futures
from concurrent.futures import Future
from itertools import repeat
from typing import Any

import pytest

from asyncbatch import BatchExecutor, TileError
from asyncbatch.errors import SettingsError
from tests.integration.conftest import Script
from tests.integration.endpoint import Endpoint
from tests.integration.eventually import eventually
from tests.integration.gate import Gate
from tests.integration.test_ends import HEAD, POOL


class MyObject:
    def my_method(self) -> None:
        pass


def capture(*args: object, **kwargs: object) -> tuple[tuple[object, ...], dict[str, object]]:
    return args, kwargs


def make_object(_: int) -> MyObject:
    return MyObject()


@pytest.fixture
def own_pool(endpoint: Endpoint) -> Iterator[BatchExecutor]:
    """Return a pool that the test can shut down."""
    pool = BatchExecutor(1, launcher="subprocess", settings=endpoint.settings(lease=300.0))
    yield pool
    pool.shutdown()


def test_submit_accepts_any_keyword(pool: BatchExecutor) -> None:
    assert pool.submit(pow, 2, 8).result() == 256
    assert pool.submit(capture, 1, self=2, fn=3).result() == ((1,), {"self": 2, "fn": 3})
    submit: Any = pool.submit
    with pytest.raises(TypeError):
        submit(fn=capture, arg=1)
    with pytest.raises(TypeError):
        submit(arg=1)


@pytest.mark.parametrize("chunksize", [1, 3, 100])
def test_map_equals_the_builtin(pool: BatchExecutor, chunksize: int) -> None:
    assert list(pool.map(pow, range(10), range(10), chunksize=chunksize)) == list(map(pow, range(10), range(10)))


def test_map_raises_in_place_of_the_failing_item(pool: BatchExecutor) -> None:
    results = pool.map(divmod, [1, 1, 1, 1], [2, 3, 0, 5])
    assert [next(results), next(results)] == [(0, 1), (0, 1)]
    with pytest.raises(TileError) as caught:
        next(results)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_map_starts_before_iteration(pool: BatchExecutor, gate: Gate) -> None:
    gate.open()
    results = pool.map(gate, range(3))
    eventually(lambda: gate.started() == 3)
    assert list(results) == [0, 1, 2]


def test_map_holds_no_reference_to_results(pool: BatchExecutor) -> None:
    for result in pool.map(make_object, range(10)):
        reference = weakref.ref(result)
        del result
        eventually(lambda: reference() is None)  # noqa: B023 - called at once; the run's thread may be a moment late


def test_submit_holds_no_reference_to_its_arguments(pool: BatchExecutor) -> None:
    thing = MyObject()
    reference = weakref.ref(thing)
    pool.submit(thing.my_method)
    del thing
    eventually(lambda: reference() is None)


@pytest.mark.parametrize("workers", [0, -1])
def test_pool_without_workers_is_rejected(endpoint: Endpoint, workers: int) -> None:
    with pytest.raises(SettingsError, match=str(workers)):
        BatchExecutor(workers, launcher="subprocess", settings=endpoint.settings())


def test_wait_returns_when_the_first_tile_is_done(pool: BatchExecutor, gate: Gate) -> None:
    first = pool.submit(pow, 21, 2)
    futures.wait([first])
    second = pool.submit(gate, "held")
    done, not_done = futures.wait([first, second], return_when=futures.FIRST_COMPLETED)
    assert (done, not_done) == ({first}, {second})
    gate.open()
    assert futures.wait([second, second]).done == {second}


def test_wait_returns_at_the_first_exception(pool: BatchExecutor, gate: Gate) -> None:
    good, bad = pool.submit(pow, 2, 21), pool.submit(divmod, 1, 0)
    futures.wait([good, bad])  # type: ignore[arg-type]  # futures of unlike types
    held = pool.submit(gate, "held")
    done, not_done = futures.wait([bad, held], return_when=futures.FIRST_EXCEPTION)
    assert (done, not_done) == ({bad}, {held})
    gate.open()
    assert futures.wait([good, bad, held]).not_done == set()  # type: ignore[arg-type]  # futures of unlike types


def test_wait_returns_after_its_timeout(pool: BatchExecutor, gate: Gate) -> None:
    held = pool.submit(gate, "held")
    assert futures.wait([held], timeout=0.05).not_done == {held}
    gate.open()


def test_as_completed_yields_each_future_once(pool: BatchExecutor, gate: Gate) -> None:
    quick = pool.submit(pow, 2, 3)
    futures.wait([quick])  # otherwise the worker with the other tile might receive this one too
    held = pool.submit(gate, "held")
    completed = futures.as_completed([held, *repeat(quick, 3)])
    assert next(completed) is quick
    gate.open()
    assert list(completed) == [held]


def test_cancelled_future_wakes_waiters(pool: BatchExecutor, gate: Gate) -> None:
    held = pool.submit(gate, "held")
    eventually(gate.started)
    assert held.cancel()
    assert futures.wait([held]).done == {held}
    assert list(futures.as_completed([held])) == [held]
    gate.open()


def test_callbacks_are_called_and_can_raise(pool: BatchExecutor, caplog: pytest.LogCaptureFixture) -> None:
    called: list[Future[int]] = []

    def fail(future: Future[int]) -> None:
        called.append(future)
        raise ValueError("error of a callback")

    future = pool.submit(pow, 2, 3)
    future.add_done_callback(fail)
    future.add_done_callback(called.append)
    eventually(lambda: called == [future, future])
    assert "error of a callback" in caplog.text
    assert pool.submit(pow, 2, 4).result() == 16


def test_submit_after_shutdown_raises_runtime_error(own_pool: BatchExecutor) -> None:
    own_pool.shutdown()
    with pytest.raises(RuntimeError):
        own_pool.submit(pow, 2, 5)
    with pytest.raises(RuntimeError):
        own_pool.map(pow, [2], [5])


def test_shutdown_completes_all_submitted_tiles(own_pool: BatchExecutor) -> None:
    submitted = [own_pool.submit(time.sleep, 0.001) for _ in range(50)]
    own_pool.map(str, [2] * 3)  # its result is not read
    own_pool.shutdown()
    assert [future.result(timeout=0) for future in submitted] == [None] * 50


def test_shutdown_with_cancel_futures_leaves_none_pending(own_pool: BatchExecutor) -> None:
    submitted = [own_pool.submit(time.sleep, 0.1) for _ in range(50)]
    own_pool.shutdown(cancel_futures=True)
    assert sum(future.cancelled() for future in submitted) > 20
    for future in submitted:
        assert future.done()
        assert future.cancelled() or future.exception() is None


def test_immediately_cancelled_tile_does_not_delay_shutdown(own_pool: BatchExecutor) -> None:
    own_pool.submit(int).result()
    own_pool.submit(int).cancel()
    own_pool.shutdown(wait=True)


@pytest.mark.parametrize("end", ["delete", "shut down without waiting"])
def test_map_is_computed_even_if_the_pool_is_shut_down(endpoint: Endpoint, end: str) -> None:
    pool = BatchExecutor(1, launcher="subprocess", settings=endpoint.settings(lease=300.0))
    results = pool.map(abs, range(-5, 5))
    if end == "shut down without waiting":
        pool.shutdown(wait=False)
    del pool
    assert list(results) == [5, 4, 3, 2, 1, 0, 1, 2, 3, 4]


@pytest.mark.usefixtures("swept")
def test_submit_at_interpreter_exit_raises_runtime_error(script: Script) -> None:
    main = script(
        HEAD
        + f"""
import atexit

@atexit.register
def run_last():
    try:
        pool.submit(id, None)
    except RuntimeError:
        print("runtime-error")

pool = {POOL}
pool.submit(id, 42).result()
"""
    )
    output, errors = main.communicate()
    assert (output.strip(), main.returncode) == ("runtime-error", 0), errors


@pytest.mark.usefixtures("swept")
def test_shutdown_in_a_signal_handler_ends_the_wait(script: Script, gate: Gate) -> None:
    main = script(
        HEAD
        + f"""
pool = {POOL}
signal.signal(signal.SIGUSR1, lambda *_: pool.shutdown(wait=False, cancel_futures=True))
future = pool.submit(hold, 0)
try:
    future.result()
except BaseException as error:
    print(type(error).__name__)
"""
    )
    eventually(gate.started)
    main.send_signal(signal.SIGUSR1)
    output, errors = main.communicate()
    assert (output.strip(), main.returncode) == ("CancelledError", 0), errors

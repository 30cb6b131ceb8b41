"""Tests of faults in main: forks, cancellations, values that can't be unpickled, lost messages."""

import gc
import os
import weakref
from collections.abc import Iterator
from concurrent.futures import CancelledError
from typing import Any

import pytest

from asyncbatch import BatchExecutor, TileError
from asyncbatch.errors import QueueGone, RunClosed
from tests.integration.endpoint import Endpoint
from tests.integration.eventually import eventually
from tests.integration.gate import Gate
from tests.integration.team import Team


def square(x: int) -> int:
    return x * x


def refuse_to_unpickle(main: int, kind: type[BaseException]) -> "Refusing":
    if os.getpid() == main:
        raise kind("not here")
    return Refusing(main, kind)


class Refusing:
    """A value that can only be unpickled on workers."""

    def __init__(self, main: int, kind: type[BaseException]) -> None:
        self.main, self.kind = main, kind

    def __reduce__(self) -> tuple[Any, ...]:
        return refuse_to_unpickle, (self.main, self.kind)


def make_refusing(main: int, kind: type[BaseException]) -> Refusing:
    return Refusing(main, kind)


@pytest.fixture
def single(endpoint: Endpoint, team: Team) -> Iterator[BatchExecutor]:
    with BatchExecutor(1, launcher=team.launcher(), settings=endpoint.settings()) as pool:
        yield pool


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, ValueError, GeneratorExit])
def test_value_that_can_not_be_unpickled_fails_its_tile(pool: BatchExecutor, kind: type[BaseException]) -> None:
    bad, good = pool.submit(make_refusing, os.getpid(), kind), pool.submit(square, 3)
    error = bad.exception(timeout=60)
    assert isinstance(error, TileError)
    assert kind.__name__ in error.reason
    assert good.result(timeout=60) == 9


def find_task_queue(endpoint: Endpoint, pool: BatchExecutor) -> str:
    (queue,) = [url for url in endpoint.queues("-task") if pool.run in url]
    return queue


def count_waiting(endpoint: Endpoint, pool: BatchExecutor) -> int:
    name = "ApproximateNumberOfMessages"
    answer = endpoint.sqs.get_queue_attributes(QueueUrl=find_task_queue(endpoint, pool), AttributeNames=[name])
    return int(answer["Attributes"][name])


def test_sent_tile_can_be_cancelled(single: BatchExecutor, endpoint: Endpoint, gate: Gate) -> None:
    futures = [single.submit(gate, tile) for tile in range(40)]
    eventually(gate.started)
    assert all(future.cancel() for future in futures[1:])
    eventually(lambda: count_waiting(endpoint, single) == 0)
    gate.open()
    assert futures[0].result(timeout=60) == 0
    assert single.submit(square, 5).result(timeout=60) == 25
    assert gate.started() <= 4  # tiles that the worker had received
    with pytest.raises(CancelledError):
        futures[20].result(timeout=0)


def test_cancelled_tiles_do_not_affect_others(single: BatchExecutor, gate: Gate) -> None:
    futures = [single.submit(gate, tile) for tile in range(40)]
    eventually(gate.started)
    for future in futures[1::2]:
        future.cancel()
    gate.open()
    assert [future.result(timeout=60) for future in futures[::2]] == list(range(0, 40, 2))


def test_pool_can_not_be_used_in_a_fork_of_main(pool: BatchExecutor) -> None:
    reader, writer = os.pipe()
    if not (child := os.fork()):
        try:
            pool.submit(square, 1)
        except RuntimeError as error:
            os.write(writer, type(error).__name__.encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 100) == RunClosed.__name__.encode()
    os.close(reader)
    os.close(writer)
    assert pool.submit(square, 4).result(timeout=60) == 16


def test_deleted_pool_computes_its_tiles_and_ends(endpoint: Endpoint) -> None:
    pool = BatchExecutor(1, launcher="subprocess", settings=endpoint.settings())
    run, future, gone = pool.run, pool.submit(square, 5), weakref.ref(pool)
    del pool
    gc.collect()
    assert gone() is None
    assert future.result(timeout=60) == 25
    eventually(lambda: not endpoint.leftovers(run), within=30)


def purge(endpoint: Endpoint, queue: str) -> None:
    endpoint.sqs.purge_queue(QueueUrl=queue)


def flip(endpoint: Endpoint, queue: str) -> None:
    """Replace the messages by damaged copies."""
    for message in endpoint.sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)["Messages"]:
        seal, _, rest = message["Body"].partition("\n")
        endpoint.sqs.send_message(QueueUrl=queue, MessageBody=f"{seal[::-1]}\n{rest}")
        endpoint.sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])


@pytest.mark.parametrize("lose", [purge, flip])
def test_tiles_with_lost_messages_are_sent_again(
    single: BatchExecutor,
    endpoint: Endpoint,
    gate: Gate,
    caplog: pytest.LogCaptureFixture,
    lose: Any,  # noqa: ANN401
) -> None:
    futures = [single.submit(gate, tile) for tile in range(8)]
    eventually(gate.started)
    lose(endpoint, find_task_queue(endpoint, single))
    gate.open()
    assert [future.result(timeout=60) for future in futures] == list(range(8))
    assert any(getattr(record, "action", "") == "tiles_lost" for record in caplog.records)


def test_error_that_ends_a_run_is_raised_to_the_user(
    endpoint: Endpoint, team: Team, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asyncbatch.main.run.NEW", 0.0)  # in the first minute, the error would be temporary
    with BatchExecutor(1, launcher=team.launcher(), settings=endpoint.settings()) as pool:
        future = pool.submit(gate, "held")
        eventually(gate.started)
        for queue in endpoint.queues():
            if pool.run in queue:
                endpoint.sqs.delete_queue(QueueUrl=queue)
        assert isinstance(future.exception(timeout=60), QueueGone)
        gate.open()

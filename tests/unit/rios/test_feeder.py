import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest


class Board:
    """Records the calls of a flow, and answers on request."""

    def __init__(self) -> None:
        self.submitted: list[tuple[Any, Future[Any]]] = []
        self.delivered: list[tuple[Any, Any]] = []
        self.failures: list[tuple[BaseException, Any]] = []
        self.changed = threading.Condition()

    def submit(self, block: Any, *_: object) -> Future[Any]:
        future: Future[Any] = Future()
        with self.changed:
            self.submitted.append((block, future))
            self.changed.notify_all()
        return future

    def deliver(self, block: Any, value: Any) -> None:
        with self.changed:
            self.delivered.append((block, value))
            self.changed.notify_all()

    def fail(self, error: BaseException, block: Any) -> None:
        with self.changed:
            self.failures.append((error, block))
            self.changed.notify_all()

    def await_(self, what: str, count: int) -> list[Any]:
        with self.changed:
            assert self.changed.wait_for(lambda: len(getattr(self, what)) >= count, 30)
            return list(getattr(self, what))


def flow(board: Board, blocks: Iterator[tuple[Any, ...]], window: int) -> Any:
    from asyncbatch.rios.feeder import BlockFlow

    made = BlockFlow(blocks, submit=board.submit, window=lambda: window, deliver=board.deliver, fail=board.fail)
    made.start()
    return made


def test_blocks_are_delivered_as_they_are_done_within_the_window() -> None:
    board = Board()
    running = flow(board, ((block,) for block in range(5)), window=2)
    first = board.await_("submitted", 2)
    first[1][1].set_result("b")
    board.await_("submitted", 3)
    assert board.delivered == [(1, "b")]
    for place in (0, 2, 3, 4):
        board.await_("submitted", place + 1)[place][1].set_result(place)
    board.await_("delivered", 5)
    running.stop()
    assert [block for block, _ in board.submitted] == [0, 1, 2, 3, 4]
    assert running.delivered == 5
    assert not board.failures


def test_error_is_reported_once_with_its_block() -> None:
    board = Board()
    running = flow(board, ((block,) for block in range(5)), window=3)
    submitted = board.await_("submitted", 3)
    error = ValueError("no")
    submitted[1][1].set_exception(error)
    board.await_("failures", 1)
    running.stop()
    assert board.failures == [(error, 1)]
    assert running.delivered == 0
    assert submitted[0][1].cancelled()


def test_error_of_the_reader_is_reported() -> None:
    def broken() -> Iterator[tuple[Any, ...]]:
        yield (0,)
        raise OSError("disk")

    board = Board()
    running = flow(board, broken(), window=3)
    [(error, block)] = board.await_("failures", 1)
    running.stop()
    assert (str(error), block) == ("disk", None)


@pytest.mark.parametrize("window", [1, 9])
def test_flow_can_be_stopped_while_it_waits(window: int) -> None:
    board = Board()
    running = flow(board, ((block,) for block in range(3)), window=window)
    board.await_("submitted", 1)
    running.stop()
    assert not board.failures

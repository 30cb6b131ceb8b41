"""Tests that Ctrl-C at any moment releases the locks that the run's thread needs."""

import sys
import threading
from collections.abc import Callable
from types import FrameType

import pytest

from asyncbatch.main.futures import InterruptibleCondition, TileFuture


def interrupt(function: Callable[[], object], moment: int) -> bool:
    """Call a function, and raise KeyboardInterrupt at the n-th point where Python can run signal handlers."""
    left = moment

    def count(_frame: FrameType, event: str, _arg: object) -> None:
        nonlocal left
        if event in {"call", "c_return", "c_exception"}:
            left -= 1
            if left < 0:
                raise KeyboardInterrupt

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        function()
    except KeyboardInterrupt:
        return True
    except RuntimeError as error:
        # The wait was interrupted before it took the lock, so releasing it fails.
        return isinstance(error.__context__, KeyboardInterrupt)
    except TimeoutError:
        pass
    finally:
        sys.setprofile(before)
    return False


def is_free(function: Callable[[], object]) -> bool:
    """Return whether a function that needs the lock returns in another thread."""
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    thread.join(2)
    return not thread.is_alive()


def wait_for(future: TileFuture[int]) -> None:
    future.result(timeout=0)


@pytest.mark.parametrize("use", [wait_for, TileFuture.cancel, TileFuture.done])
def test_future_can_be_cancelled_after_an_interrupted_call(use: Callable[[TileFuture[int]], object]) -> None:
    moment = 0
    while True:
        future = TileFuture[int]()
        interrupted = interrupt(lambda future=future: use(future), moment)  # type: ignore[misc]
        assert is_free(future.cancel), moment
        if not interrupted:
            break
        moment += 1
    assert moment > 2


def test_waiters_can_be_notified_after_an_interrupted_notification() -> None:
    def notify() -> None:
        with changed:
            changed.notify_all()

    changed = InterruptibleCondition()
    moment = 0
    while interrupt(notify, moment):
        assert is_free(notify), moment
        moment += 1
    assert moment > 2

"""Ctrl-C at any moment leaves no lock held that the run's thread needs."""

import sys
import threading
from collections.abc import Callable
from types import FrameType

import pytest

from asyncbatch.main.futures import InterruptibleCondition, TileFuture


def interrupt(function: Callable[[], object], moment: int) -> bool:
    """Call a function, and raise KeyboardInterrupt at one of the moments at which Python runs signal handlers."""
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
        # A wait that is interrupted as it begins: the lock is free, so that its release fails.
        return isinstance(error.__context__, KeyboardInterrupt)
    except TimeoutError:
        pass
    finally:
        sys.setprofile(before)
    return False


def is_free(function: Callable[[], object]) -> bool:
    """Whether a function that needs the lock returns in another thread."""
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    thread.join(2)
    return not thread.is_alive()


def wait_for(future: TileFuture[int]) -> None:
    future.result(timeout=0)


@pytest.mark.parametrize("use", [wait_for, TileFuture.cancel, TileFuture.done])
def test_an_interrupted_use_of_a_future_lets_others_cancel_it(use: Callable[[TileFuture[int]], object]) -> None:
    moment = 0
    while True:
        future = TileFuture[int]()
        interrupted = interrupt(lambda future=future: use(future), moment)  # type: ignore[misc]
        assert is_free(future.cancel), moment
        if not interrupted:
            break
        moment += 1
    assert moment > 2


def test_an_interrupted_notification_lets_others_notify() -> None:
    def notify() -> None:
        with changed:
            changed.notify_all()

    changed = InterruptibleCondition()
    moment = 0
    while interrupt(notify, moment):
        assert is_free(notify), moment
        moment += 1
    assert moment > 2

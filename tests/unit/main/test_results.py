"""Tests of the results that users receive."""

import pickle
import threading
from typing import Any

import anyio
import cloudpickle
import numpy as np
import pytest

from asyncbatch import TileError, TileLost, TileTimeout
from asyncbatch.main.results import open_result
from asyncbatch.wire import codec
from asyncbatch.wire.exceptions import pack_exception
from asyncbatch.wire.messages import Body, Failure, Loss, Outcome, Result

pytestmark = pytest.mark.anyio


class Hanging:
    """A value that hangs when it is unpickled."""

    def __init__(self, released: threading.Event) -> None:
        HELD.append(released)

    def __reduce__(self) -> tuple[Any, ...]:
        return wait_for_release, ()


HELD: list[threading.Event] = []


def wait_for_release() -> None:
    HELD[0].wait()


def make(outcome: Outcome, value: object) -> tuple[Result, bytes]:
    content = codec.join(codec.encode(value))
    body = Body.of(content, key="runs/r/out/3")
    return Result(index=3, worker="w", attempt=2, outcome=outcome, seconds=0.1, body=body), content


async def test_plain_value_is_unpickled_without_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading.Thread, "start", lambda _: pytest.fail("no thread expected"))
    value = {"a": np.arange(5), "b": [1.5, None, "c"]}
    opened = await open_result(*make("ok", value))
    np.testing.assert_array_equal(opened["a"], value["a"])
    assert opened["b"] == value["b"]


async def test_value_that_hangs_when_unpickled_fails_its_tile() -> None:
    released = threading.Event()
    result, content = make("ok", Hanging(released))
    try:
        with pytest.raises(TileError) as caught, anyio.fail_after(30):
            await open_result(result, content, limit=0.05)
    finally:
        released.set()
        HELD.clear()
    assert isinstance(caught.value.__cause__, TimeoutError)
    assert (caught.value.tile, caught.value.worker, caught.value.attempt) == (3, "w", 2)


async def test_damaged_body_fails_its_tile() -> None:
    result, content = make("ok", 5)
    with pytest.raises(TileError):
        await open_result(result, content[:-3])


async def test_failure_has_the_exception_of_the_user() -> None:
    pickled = cloudpickle.dumps(pack_exception(KeyError("x")))
    failure = Failure(reason="KeyError: 'x'", traceback="Traceback ...", exception=pickled)
    with pytest.raises(TileError) as caught:
        await open_result(*make("error", failure))
    assert isinstance(caught.value.__cause__, KeyError)
    assert caught.value.remote_traceback == "Traceback ..."


async def test_lost_tile_has_the_number_of_attempts() -> None:
    with pytest.raises(TileLost) as caught:
        await open_result(*make("lost", Loss(reason="the worker died")))
    assert type(caught.value) is TileLost
    assert (caught.value.tile, caught.value.attempts, caught.value.reason) == (3, 2, "the worker died")


async def test_tile_over_its_time_limit_has_its_stack() -> None:
    with pytest.raises(TileTimeout) as caught:
        await open_result(*make("lost", Loss(reason="too long", cause="timeout", stack="in slow")))
    copied = pickle.loads(pickle.dumps(caught.value))
    assert (copied.tile, copied.attempts, copied.reason, copied.stack) == (3, 2, "too long", "in slow")
    assert "in slow" in str(copied)

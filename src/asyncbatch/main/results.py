"""Converts results to the values or errors that users get.

Unpickling may run code of the user's classes, which may raise anything or never return. Therefore it runs in a separate
thread, unless the pickle refers only to numpy and the standard library.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar

import anyio

from asyncbatch.aws.protocols import Content
from asyncbatch.errors import TileError, TileLost, TileOutOfMemory, TileTimeout
from asyncbatch.main.pickling.imports import is_own_name
from asyncbatch.wire import codec
from asyncbatch.wire.exceptions import SentException, unpack_exception
from asyncbatch.wire.messages import Failure, Loss, Result

log: Final = logging.getLogger(__name__)

T = TypeVar("T")

UNPICKLE_LIMIT: Final = 60.0
"""Maximum number of seconds for unpickling a result, in addition to a second for each 10 MB."""

_RATE: Final = 10e6  # bytes per second, far below the rate of unpickling arrays
_LARGE: Final = 2**20  # bytes whose unpickling takes longer than starting a thread
_LACKING: Final = "; add the package to the workers' image with PIP_PACKAGES or EXTRA_PACKAGES"
_OWN: Final = (
    "; it is your own module, but asyncbatch did not detect that the function needs it: "
    "add 'import {name}' to the function or to your script"
)


async def open_result(result: Result, content: Content, *, limit: float = UNPICKLE_LIMIT) -> Any:  # noqa: ANN401
    """Return the result of the user's function for a tile.

    Parameters
    ----------
    result : Result
        The worker's message.
    content : bytes
        The verified body of the result.
    limit : float
        Maximum number of seconds for unpickling, in addition to a second for each 10 MB.

    Raises
    ------
    TileError
        If the function raised an exception, or its result can't be unpickled here.
    TileLost
        If all attempts at the tile were lost; a `TileTimeout` if the last one took too long.
    """
    body = content if isinstance(content, bytearray) else bytearray(content)  # writable, so that its arrays are
    try:
        value = await _unpickle(body, limit + len(body) / _RATE)
    except Exception as error:
        raise _make_error(result, f"the result can't be unpickled: {type(error).__name__}: {error}") from error
    if result.outcome == "ok":
        return value
    if isinstance(value, Failure):
        cause = await _find_cause(value, limit)
        reason = value.reason + _advise(value.reason, cause)
        raise _make_error(result, reason, remote_traceback=value.traceback) from cause
    raise make_loss(result, value if isinstance(value, Loss) else Loss(reason=str(value)))


async def _unpickle(body: bytearray, limit: float) -> object:
    if len(body) < _LARGE:
        try:
            return codec.decode(body, plain=True)
        except codec.NotPlainError:
            log.debug("unpickling in a thread", extra={"action": "unpickling_in_thread"})
    return await _run_in_thread(lambda: codec.decode(body), limit)


async def _find_cause(failure: Failure, limit: float) -> BaseException:
    """Return the user's exception, or the nearest one: its class may be missing here, or raise an error."""
    pickled = failure.exception

    def unpack() -> BaseException:
        sent = codec.loads(pickled or b"")
        assert isinstance(sent, SentException)  # noqa: S101 - caught below
        return unpack_exception(sent, codec.loads)

    try:
        return await _run_in_thread(unpack, limit)
    except Exception:  # noqa: BLE001 - unpickling may raise anything, or hang
        log.debug("can't unpickle an exception", extra={"action": "exception_not_unpickled"})
        return RuntimeError(failure.reason)


def _advise(reason: str, cause: BaseException) -> str:
    """Return a suggestion for a missing module."""
    if not isinstance(cause, ModuleNotFoundError) or not reason.startswith(ModuleNotFoundError.__name__):
        return ""
    if cause.name and is_own_name(cause.name.partition(".")[0]):
        return _OWN.format(name=cause.name)
    return _LACKING


async def _run_in_thread(work: Callable[[], T], limit: float) -> T:
    """Run `work` in a thread, which is abandoned after `limit` seconds, and return its result.

    Raises
    ------
    TimeoutError
        If it takes longer.
    Exception
        The exception of `work`; one that would end a process or a task is the cause of a RuntimeError.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(value: T | None, error: Exception | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(value)  # type: ignore[arg-type]  # None if T is None
        else:
            done.set_exception(error)

    def run() -> None:
        value, error = None, None
        try:
            value = work()
        except Exception as raised:  # noqa: BLE001 - raised again in the event loop
            error = raised
        except BaseException as raised:  # noqa: BLE001 - SystemExit and the like must not end the run
            error = RuntimeError(f"{type(raised).__name__}: {raised}")
            error.__cause__ = raised
        try:
            loop.call_soon_threadsafe(settle, value, error)
        except RuntimeError:  # the event loop has been closed
            log.debug("result unpickled after the end of the run", extra={"action": "unpickled_too_late"})

    threading.Thread(target=run, name="asyncbatch-unpickle", daemon=True).start()
    try:
        with anyio.fail_after(limit):
            return await done
    except TimeoutError as error:
        if done.done() and not done.cancelled():
            raise  # the user's exception
        raise TimeoutError(f"not done after {limit:.0f} s") from error


def make_loss(result: Result, loss: Loss) -> TileLost:
    """Return the error of a tile that no attempt has brought back."""
    where: dict[str, Any] = {
        "tile": result.index,
        "attempts": result.attempt,
        "worker": result.worker,
        "log_stream": result.log_stream,
        "peak_memory": loss.peak,
    }
    if loss.cause == "timeout":
        return TileTimeout(loss.reason, stack=loss.stack, **where)
    return (TileOutOfMemory if loss.cause == "memory" else TileLost)(loss.reason, **where)


def _make_error(result: Result, reason: str, *, remote_traceback: str = "") -> TileError:
    return TileError(
        reason,
        tile=result.index,
        worker=result.worker,
        attempt=result.attempt,
        remote_traceback=remote_traceback,
        log_stream=result.log_stream,
        peak_memory=result.peak,
    )

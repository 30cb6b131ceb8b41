"""Results as the user gets them: a value, or the error that says what happened.

Unpickling runs code of the user's own classes. It may raise anything, and may take for ever: so it happens in a
thread of its own unless the pickle names nothing but numpy and the standard library.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar

import anyio

from asyncbatch.aws.protocols import Content
from asyncbatch.errors import TileError, TileLost, TileOutOfMemory, TileTimeout
from asyncbatch.main.imports import is_own_name
from asyncbatch.wire import codec
from asyncbatch.wire.exceptions import SentException, unpack_exception
from asyncbatch.wire.messages import Failure, Loss, Result

log: Final = logging.getLogger(__name__)

T = TypeVar("T")

UNPICKLE_LIMIT: Final = 60.0
"""Seconds that unpickling one result may take, on top of a second for each 10 MB."""

_RATE: Final = 10e6  # bytes a second, far below what unpickling arrays reaches
_LARGE: Final = 2**20  # bytes that take longer to unpickle than a thread takes to start
_LACKING: Final = "; workers need what your functions import: PIP_PACKAGES or EXTRA_PACKAGES put it into their image"
_OWN: Final = (
    "; it is a module of your own that the function could not be seen to need: "
    "write 'import {name}' in the function, or in your script"
)


async def open_result(result: Result, content: Content, *, limit: float = UNPICKLE_LIMIT) -> Any:  # noqa: ANN401
    """Return what the user's function returned for a tile.

    Parameters
    ----------
    result : Result
        What the worker said.
    content : bytes
        The result's body, verified.
    limit : float
        Seconds that unpickling may take, on top of a second for each 10 MB.

    Raises
    ------
    TileError
        If the function raised, or if its value does not unpickle here.
    TileLost
        If no attempt at the tile survived; a `TileTimeout` if the last one took too long.
    """
    body = content if isinstance(content, bytearray) else bytearray(content)  # writable, so that the arrays in it are
    try:
        value = await _unpickle(body, limit + len(body) / _RATE)
    except Exception as error:
        raise _make_error(result, f"the result does not unpickle: {type(error).__name__}: {error}") from error
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
    """Return the user's own exception, or what comes nearest to it: its class may be missing here, or raise."""
    pickled = failure.exception

    def unpack() -> BaseException:
        sent = codec.loads(pickled or b"")
        assert isinstance(sent, SentException)  # noqa: S101 - any exception here is caught below
        return unpack_exception(sent, codec.loads)

    try:
        return await _run_in_thread(unpack, limit)
    except Exception:  # noqa: BLE001 - unpickling raises anything, and may hang
        log.debug("exception does not unpickle", extra={"action": "exception_not_unpickled"})
        return RuntimeError(failure.reason)


def _advise(reason: str, cause: BaseException) -> str:
    """Return what helps against a missing module."""
    if not isinstance(cause, ModuleNotFoundError) or not reason.startswith(ModuleNotFoundError.__name__):
        return ""
    if cause.name and is_own_name(cause.name.partition(".")[0]):
        return _OWN.format(name=cause.name)
    return _LACKING


async def _run_in_thread(work: Callable[[], T], limit: float) -> T:
    """Return what `work` returns in a thread that is left behind if it takes longer than `limit` seconds.

    Raises
    ------
    TimeoutError
        If it takes longer.
    Exception
        What it raised; an exception that would end a process or a task comes as the cause of a RuntimeError.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(value: T | None, error: Exception | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(value)  # type: ignore[arg-type]  # None where T is
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
        except RuntimeError:  # the loop has been closed meanwhile
            log.debug("unpickled too late", extra={"action": "unpickled_too_late"})

    threading.Thread(target=run, name="asyncbatch-unpickle", daemon=True).start()
    try:
        with anyio.fail_after(limit):
            return await done
    except TimeoutError as error:
        if done.done() and not done.cancelled():
            raise  # the user's own
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

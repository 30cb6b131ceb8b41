"""Describes an exception for main, with limited size."""

import traceback
from collections.abc import Callable, Collection
from types import TracebackType
from typing import Final

import cloudpickle

from asyncbatch.wire.exceptions import pack_exception
from asyncbatch.wire.messages import Failure

_REASON: Final = 2_000
"""Maximum number of characters of the reason."""

_TRACEBACK: Final = 64_000
"""Maximum number of characters of a traceback."""


def describe_failure(
    error: BaseException, *, skip: str, dump: Callable[[object], bytes] = cloudpickle.dumps
) -> Failure:
    """Return the description of an exception for main.

    Parameters
    ----------
    error : BaseException
        The exception of the user's function.
    skip : str
        A file whose frames at the start of the traceback are omitted, so that it begins in the user's code.
    dump : callable
        Pickles it.
    """
    start = _find_start(error.__traceback__, skip)
    summary = traceback.TracebackException(type(error), error, start)
    text = "".join(summary.format()).rstrip()
    summary.__notes__ = None  # otherwise they would come last, where the reason is expected
    reason = list(summary.format_exception_only())[-1].strip()
    return Failure(
        reason=cut(reason, _REASON),
        traceback=cut(text, _TRACEBACK),
        exception=cloudpickle.dumps(pack_exception(error, dump)),
    )


def cut(text: str, most: int) -> str:
    """Shorten a text to about `most` characters by cutting its middle."""
    if len(text) <= most:
        return text
    head, tail = text[: most // 2], text[-(most // 2) :]
    return f"{head}\n[... {len(text) - len(head) - len(tail)} characters cut ...]\n{tail}"


def _find_start(trace: TracebackType | None, skip: str) -> TracebackType | None:
    while trace is not None and trace.tb_frame.f_code.co_filename == skip:
        trace = trace.tb_next
    return trace


def is_named(error: BaseException, names: Collection[str]) -> bool:
    """Return whether an exception's class or one of its base classes is among some names.

    Classes are compared by name, since classes of the user's script are pickled by value and so differ here.
    """
    return any(f"{kind.__module__}.{kind.__qualname__}" in names for kind in type(error).__mro__)

"""What main learns of an exception: enough to understand it, and never so much that it is in the way."""

import traceback
from collections.abc import Callable, Collection
from types import TracebackType
from typing import Final

import cloudpickle

from asyncbatch.wire.exceptions import pack_exception
from asyncbatch.wire.messages import Failure

_REASON: Final = 2_000
"""Characters of an exception's own line."""

_TRACEBACK: Final = 64_000
"""Characters of a traceback."""


def describe_failure(
    error: BaseException, *, skip: str, dump: Callable[[object], bytes] = cloudpickle.dumps
) -> Failure:
    """Return what main needs to know of an exception.

    Parameters
    ----------
    error : BaseException
        What the user's function raised.
    skip : str
        The file whose frames the traceback leaves out at its start: it begins in the user's code, not in ours.
    dump : callable
        What pickles it.
    """
    start = _find_start(error.__traceback__, skip)
    summary = traceback.TracebackException(type(error), error, start)
    text = "".join(summary.format()).rstrip()
    summary.__notes__ = None  # they would come last, in the place of the reason
    reason = list(summary.format_exception_only())[-1].strip()
    return Failure(
        reason=cut(reason, _REASON),
        traceback=cut(text, _TRACEBACK),
        exception=cloudpickle.dumps(pack_exception(error, dump)),
    )


def cut(text: str, most: int) -> str:
    """Return a text of at most about `most` characters, cut in the middle where it is longer."""
    if len(text) <= most:
        return text
    head, tail = text[: most // 2], text[-(most // 2) :]
    return f"{head}\n[... {len(text) - len(head) - len(tail)} characters cut ...]\n{tail}"


def _find_start(trace: TracebackType | None, skip: str) -> TracebackType | None:
    while trace is not None and trace.tb_frame.f_code.co_filename == skip:
        trace = trace.tb_next
    return trace


def is_named(error: BaseException, names: Collection[str]) -> bool:
    """Return whether an exception is of a class, or of a subclass of one, that is among those named.

    By name, since the class itself may be another one here: those of the user's script are pickled by value.
    """
    return any(f"{kind.__module__}.{kind.__qualname__}" in names for kind in type(error).__mro__)

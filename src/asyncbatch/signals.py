"""Signals that end a process, on the path of an exception."""

import signal
import threading
from types import FrameType
from typing import Final, NoReturn

BY_SIGNAL: Final = 128
"""A shell's way to say that a signal ended a command: this and the signal's number."""


def leave_by_exception() -> None:
    """Let the signals that end this process take the path of an exception, on which everything is cleaned up.

    A handler that is there already stays, and so does nohup's wish not to notice that the terminal goes.
    """
    if threading.current_thread() is not threading.main_thread():  # Python sets handlers there only
        return
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _leave)


def _leave(number: int, _frame: FrameType | None) -> NoReturn:
    """End the process with the status that the signal would have given it."""
    raise SystemExit(BY_SIGNAL + number)

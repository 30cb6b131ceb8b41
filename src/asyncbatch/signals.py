"""Signals that end a process, on the path of an exception."""

import signal
import threading
from types import FrameType
from typing import Final, NoReturn

BY_SIGNAL: Final = 128
"""A shell's way to say that a signal ended a command: this and the signal's number."""

_ENDING: Final = (signal.SIGTERM, signal.SIGHUP)


class LeavingByException:
    """Lets the signals that end this process take the path of an exception, on which everything is cleaned up.

    A handler that is there already stays, and so does nohup's request to ignore the end of the terminal.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        """The signal that asked this process to end, if one did."""
        self._set: list[signal.Signals] = []

    def start(self) -> None:
        """Handle the signals from now on; does nothing in other threads than the main one, where Python sets none."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in _ENDING:
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, self._leave)
                self._set.append(number)

    def stop(self) -> None:
        """Leave the signals to their default again, unless somebody else handles them by now."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in self._set:
            if signal.getsignal(number) == self._leave:
                signal.signal(number, signal.SIG_DFL)
        self._set.clear()

    def _leave(self, number: int, _frame: FrameType | None) -> NoReturn:
        """End the process with the status that the signal would have given it."""
        self.received = number
        raise SystemExit(BY_SIGNAL + number)


def leave_by_exception() -> None:
    """Let the signals that end this process take the path of an exception, for the rest of its life."""
    LeavingByException().start()

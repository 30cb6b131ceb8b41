"""Handling of signals that end a process, by raising an exception."""

import signal
import threading
from types import FrameType
from typing import Final, NoReturn

from asyncbatch.wire.exitstatus import BY_SIGNAL

_ENDING: Final = (signal.SIGTERM, signal.SIGHUP)


class LeavingByException:
    """Raises an exception for signals that end this process, so that everything is cleaned up.

    Existing handlers are kept, and so is nohup's request to ignore SIGHUP.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        """The signal that was received, if any."""
        self._set: list[signal.Signals] = []

    def start(self) -> None:
        """Handle the signals from now on; does nothing outside the main thread, where Python can't set handlers."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in _ENDING:
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, self._leave)
                self._set.append(number)

    def stop(self) -> None:
        """Restore the default handlers, unless the handlers have been changed since."""
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
    """Raise an exception for signals that end this process, from now on."""
    LeavingByException().start()

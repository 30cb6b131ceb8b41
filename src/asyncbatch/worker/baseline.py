"""Restores the state of a slot's process between tiles.

Not restored: globals of modules, the configuration of GDAL, numpy, warnings and locale, random generators, threads.
"""

import os
import resource
import signal
import sys
import tempfile

# Without the conversion to enumerations, which takes longer than everything else in this module.
from _signal import getsignal  # type: ignore[import-not-found]  # it has no types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import IO, Any, Final

from asyncbatch.wire.processstate import ProcessState

_STREAMS: Final = ("stdin", "stdout", "stderr")
_TIMERS: Final = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
_SIGNALS: Final = tuple(
    sorted(
        number
        for number in signal.Signals
        if number < signal.SIGRTMIN and number not in {signal.SIGKILL, signal.SIGSTOP}
    )
)
_LIMITS: Final = tuple(sorted({getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")}))


class Baseline:
    """The current state of a slot's process, to restore between tiles.

    Parameters
    ----------
    inherited : mapping or None
        The variables that main's script had changed before it started this worker, with their previous values; None if
        main is on another machine.
    """

    def __init__(self, inherited: Mapping[str, str | None] | None) -> None:
        self._same_machine = inherited is not None
        self._temporary = tempfile.gettempdir()
        self._umask = os.umask(0o022)
        os.umask(self._umask)
        self._environment = _replace(dict(os.environb), inherited or {})
        self._signals = _Signals()
        self._limits = _Limits()
        self._streams = _Streams()

    def enter(self, state: ProcessState) -> None:
        """Apply the process state that a program expects."""
        os.umask(self._umask)
        try:
            os.chdir(state.folder or self._temporary)
        except OSError:  # main's directory does not exist on this machine
            os.chdir(self._temporary)
        _set_environment(_replace(dict(self._environment), state.variables(same_machine=self._same_machine)))

    @contextmanager
    def keep_imported_variables(self) -> Iterator[None]:
        """Keep the variables that modules set when they are imported in the block, since this happens only once."""
        before = dict(os.environb)
        yield
        for name, value in os.environb.items():
            if name not in before:
                self._environment.setdefault(name, value)

    def restore_essentials(self) -> None:
        """Restore state that a tile has changed and that may affect sending its result."""
        try:
            self._signals.restore()
        except BaseException:  # noqa: BLE001 - a signal handler of the tile ran after the function's end
            self._signals.restore()
        self._limits.restore()
        self._streams.restore()

    @property
    def damage(self) -> str:
        """Why this process must not compute another tile; empty if it may."""
        return self._limits.damage

    def close_in_fork(self) -> None:
        """Close this process's own descriptors in a forked process."""
        self._streams.close()


def _replace(environment: dict[bytes, bytes], changes: Mapping[str, str | None]) -> dict[bytes, bytes]:
    for name, value in changes.items():
        if value is None:
            environment.pop(os.fsencode(name), None)
        else:
            environment[os.fsencode(name)] = os.fsencode(value)
    return environment


def _set_environment(wanted: dict[bytes, bytes]) -> None:
    now = dict(os.environb)
    if now == wanted:
        return
    for name in now.keys() - wanted.keys():
        del os.environb[name]
    for name, value in wanted.items():
        if now.get(name) != value:
            os.environb[name] = value


class _Signals:
    """Timers, handlers and blocked signals."""

    def __init__(self) -> None:
        self._handlers = {number: getsignal(number) for number in _SIGNALS}
        self._blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])

    def restore(self) -> None:
        for timer in _TIMERS:
            signal.setitimer(timer, 0)
        for number, handler in self._handlers.items():
            if handler is not None and getsignal(number) is not handler:  # None: a C library's
                signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._blocked)


class _Limits:
    """Resource limits: soft limits can be raised again, hard limits only by root."""

    def __init__(self) -> None:
        self._limits = {limit: resource.getrlimit(limit) for limit in _LIMITS}
        self.damage = ""

    def restore(self) -> None:
        for limit, wanted in self._limits.items():
            found = resource.getrlimit(limit)
            if found == wanted:
                continue
            try:
                resource.setrlimit(limit, wanted)
            except (OSError, ValueError):
                self.damage = f"a tile lowered the hard resource limit {limit} from {wanted[1]} to {found[1]}"
                with suppress(OSError, ValueError):
                    resource.setrlimit(limit, (found[1], found[1]))


class _Streams:
    """``sys.stdin``, ``sys.stdout``, ``sys.stderr`` and their file descriptors."""

    def __init__(self) -> None:
        self._streams: list[Any] = [getattr(sys, name) for name in _STREAMS]
        self._copies = [os.dup(number) for number in range(len(_STREAMS))]
        self._files = [_identify(copy) for copy in self._copies]

    def restore(self) -> None:
        self._flush()  # to the tile's replacements
        for number, (copy, file) in enumerate(zip(self._copies, self._files, strict=True)):
            if _identify(number) != file:
                os.dup2(copy, number)
        for number, (name, stream) in enumerate(zip(_STREAMS, self._streams, strict=True)):
            if not _is_open(stream):
                self._streams[number] = _open(number)
            if getattr(sys, name) is not self._streams[number]:
                setattr(sys, name, self._streams[number])
        self._flush()

    def close(self) -> None:
        for copy in self._copies:
            with suppress(OSError):
                os.close(copy)

    def _flush(self) -> None:
        for stream in (sys.stdout, sys.stderr, *self._streams[1:]):
            with suppress(Exception):  # closed, or any object that the user has set
                stream.flush()


def _identify(number: int) -> tuple[int, int] | None:
    """Return the identity of a descriptor's file; None if it is closed."""
    try:
        status = os.fstat(number)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _is_open(stream: Any) -> bool:  # noqa: ANN401 - Python's stream
    try:
        return not stream.closed
    except ValueError:  # detached
        return False


def _open(number: int) -> IO[Any]:
    """Return a line-buffered stream for a descriptor, as Python opens it."""
    mode = "r" if number == 0 else "w"
    errors = "backslashreplace" if number == 2 else None  # noqa: PLR2004 - stderr
    return open(number, mode, buffering=1, errors=errors, closefd=False)

"""An event loop whose clock jumps to the next timer when there is nothing else to do."""

import asyncio
import selectors
import threading
from collections.abc import Callable
from contextvars import Context
from typing import Any, Final, TypeVarTuple

import anyio
import anyio.to_thread

from asyncbatch.testing.freezing import Process, guard

Ts = TypeVarTuple("Ts")

_THREAD: Final = "asyncbatch-unpickle"
"""Name of threads that main waits for; anyio counts its own threads."""

_GLANCE: Final = 0.02
"""Seconds of real time between two checks for busy threads."""

_DEADLOCK: Final = 1.0
"""Seconds of real time after which a loop without timers is considered deadlocked."""

_SPINS: Final = 100
_TICK: Final = 1e-6
"""Number of iterations of the loop without a pause after which each takes some time. Otherwise code that polls for a
time within the clock's resolution would wait forever."""


class _JumpingSelector(selectors.DefaultSelector):
    """Does not wait, but advances the loop's clock by the timeout."""

    loop: "VirtualLoop"
    _spins: int = 0

    def select(self, timeout: float | None = None) -> list[Any]:
        events: list[Any] = super().select(0)
        self._spins = self._spins + 1 if timeout == 0 else 0
        if self._spins > _SPINS:
            self.loop.now += _TICK
        while not events and timeout != 0 and self.loop.has_threads_at_work():
            events = super().select(_GLANCE)
        if not events and timeout:
            self.loop.now += timeout
        elif not events and timeout is None:
            events = super().select(_DEADLOCK)
            if not events:
                raise RuntimeError("deadlock: all tasks wait, and no timer, input or thread can wake one")
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop of virtual time: sleeping and timeouts of minutes take no time.

    Time does not pass while the loop computes, nor while a thread of anyio works for it once `watch_threads` was
    called.
    """

    def __init__(self) -> None:
        self.now = 1000.0
        self._limiter: anyio.CapacityLimiter | None = None
        selector = _JumpingSelector()
        super().__init__(selector)
        selector.loop = self

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self.now

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """Schedule a callback; callbacks of a frozen process run when it is thawed."""
        guarded = guard(callback, args, context)
        if guarded is None:
            return super().call_soon(callback, *args, context=context)
        step, chosen = guarded
        step.handle = super().call_soon(step, context=chosen)
        return step.handle

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Schedule a callback at a time; callbacks of a frozen process run when it is thawed."""
        guarded = guard(callback, args, context)
        if guarded is None:
            return super().call_at(when, callback, *args, context=context)
        step, chosen = guarded
        step.handle = timer = super().call_at(when, step, context=chosen)
        return timer

    def watch_threads(self) -> None:
        """Stop time from now on while `anyio.to_thread` is busy. Must be called in a task of this loop."""
        self._limiter = anyio.to_thread.current_default_thread_limiter()

    def has_threads_at_work(self) -> bool:
        """Return whether a thread is working for a task of this loop."""
        if self._limiter is not None and self._limiter.borrowed_tokens:
            return True
        return any(thread.name == _THREAD for thread in threading.enumerate())


def freeze(process: Process) -> None:
    """Stop a process until it is thawed; only in virtual time.

    Raises
    ------
    TypeError
        In an event loop with real time.
    """
    loop = asyncio.get_running_loop()
    if not isinstance(loop, VirtualLoop):
        raise TypeError(
            f"a process can be stopped in virtual time only: run the test in a VirtualLoop, not in {loop!r}"
        )
    if process.ended:
        return
    if loop.has_threads_at_work():  # they may work for this process, so wait until they have ended
        loop.call_soon(freeze, process, context=Context())
    else:
        process.freeze()


VIRTUAL: Final[tuple[str, dict[str, Any]]] = ("asyncio", {"loop_factory": VirtualLoop})
"""A parameter for the fixture `anyio_backend` of anyio's plugin for pytest."""

"""An event loop whose clock jumps to the next timer whenever nothing else is to be done."""

import asyncio
import selectors
import threading
from collections.abc import Callable
from contextvars import Context
from typing import Any, Final, TypeVarTuple

import anyio
import anyio.to_thread

from asyncbatch.testing.freezing import guard

Ts = TypeVarTuple("Ts")

_THREAD: Final = "asyncbatch-unpickle"
"""Name of threads that main starts for what it waits for; anyio's own are counted by anyio."""

_GLANCE: Final = 0.02
"""Seconds of real time between two looks at threads at work."""

_DEADLOCK: Final = 1.0
"""Seconds of real time after which a loop without timers counts as one in which nothing will happen."""

_SPINS: Final = 100
_TICK: Final = 1e-6
"""Turns of the loop in a row without a pause, after which each takes some seconds. Whoever waits by turns for a moment
that is nearer than the clock's resolution would wait for ever."""


class _JumpingSelector(selectors.DefaultSelector):
    """Does not wait: it moves the loop's clock by the time for which it was to wait."""

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
                raise RuntimeError("all tasks wait for each other: no timer, no input and no thread can wake one")
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop of virtual time: sleeping takes no time, and timeouts of minutes pass at once.

    Time stands still while the loop computes, and while a thread of anyio's works for it once `watch_threads` was
    called.
    """

    def __init__(self) -> None:
        self.now = 1000.0
        self._limiter: anyio.CapacityLimiter | None = None
        selector = _JumpingSelector()
        super().__init__(selector)
        selector.loop = self

    def time(self) -> float:
        """Return the virtual time, in seconds."""
        return self.now

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """Call something in the next turn; if it belongs to a process that is frozen then, when that is thawed."""
        guarded = guard(callback, args, context)
        if guarded is None:
            return super().call_soon(callback, *args, context=context)
        step, chosen = guarded
        step.handle = super().call_soon(step, context=chosen)
        return step.handle

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Call something at a time; if it belongs to a process that is frozen then, when that is thawed."""
        guarded = guard(callback, args, context)
        if guarded is None:
            return super().call_at(when, callback, *args, context=context)
        step, chosen = guarded
        step.handle = timer = super().call_at(when, step, context=chosen)
        return timer

    def watch_threads(self) -> None:
        """Let time stand still from now on while `anyio.to_thread` is at work. Call it in a task of this loop."""
        self._limiter = anyio.to_thread.current_default_thread_limiter()

    def has_threads_at_work(self) -> bool:
        """Return whether a thread works for a task of this loop."""
        if self._limiter is not None and self._limiter.borrowed_tokens:
            return True
        return any(thread.name == _THREAD for thread in threading.enumerate())


VIRTUAL: Final[tuple[str, dict[str, Any]]] = ("asyncio", {"loop_factory": VirtualLoop})
"""A parameter for the fixture `anyio_backend` of anyio's plugin for pytest."""

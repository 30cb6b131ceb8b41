"""Processes that are stopped and go on later, as SIGSTOP and SIGCONT have it, in an event loop that they share."""

import asyncio
from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass, field
from typing import Any, Final


@dataclass(slots=True, eq=False)
class Process:
    """What runs as if it were a process of its own: a task that called `begin`, and all that it started."""

    frozen: bool = False
    _parked: list["_Step"] = field(default_factory=list)

    def begin(self) -> None:
        """Make the task that runs now, and all that it starts, belong to this process."""
        _RUNNING.set(self)

    def freeze(self) -> None:
        """Let nothing of this process run until it is thawed."""
        self.frozen = True

    def thaw(self, loop: asyncio.AbstractEventLoop) -> None:
        """Run what was to run meanwhile, and go on."""
        self.frozen = False
        parked, self._parked = self._parked, []
        for step in parked:
            if not step.handle.cancelled():
                loop.call_soon(step, context=step.context)

    def run(self, step: "_Step") -> None:
        """Run a step, now or when this process is thawed."""
        if self.frozen:
            self._parked.append(step)
        else:
            step.callback(*step.arguments)


_RUNNING: Final[ContextVar[Process | None]] = ContextVar("asyncbatch_process", default=None)


@dataclass(slots=True, eq=False)
class _Step:
    """What an event loop is to call for a process."""

    process: Process
    context: Context
    callback: Callable[..., object]
    arguments: tuple[Any, ...]
    handle: asyncio.Handle = field(init=False)

    def __call__(self) -> None:
        self.process.run(self)


def guard(
    callback: Callable[..., object], arguments: tuple[Any, ...], context: Context | None
) -> tuple[_Step, Context] | None:
    """Return what to call in place of a callback that belongs to a process, and its context; None if it does not."""
    process = _RUNNING.get() if context is None else context.get(_RUNNING)
    if process is None or isinstance(callback, _Step):
        return None
    chosen = copy_context() if context is None else context
    return _Step(process, chosen, callback, arguments), chosen

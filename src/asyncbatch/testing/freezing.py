"""Emulated processes in one event loop that can be stopped and continued, as by SIGSTOP and SIGCONT."""

import asyncio
from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass, field
from typing import Any, Final


@dataclass(slots=True, eq=False)
class Process:
    """An emulated process: a task that called `begin`, and everything it started."""

    frozen: bool = False
    ended: bool = False
    """Whether it has been killed, and can't be stopped any more."""
    _parked: list["_Step"] = field(default_factory=list)

    def begin(self) -> None:
        """Make the current task, and everything it starts, belong to this process."""
        _RUNNING.set(self)

    def freeze(self) -> None:
        """Stop this process until it is thawed."""
        self.frozen = True

    def thaw(self, loop: asyncio.AbstractEventLoop) -> None:
        """Run the callbacks that became due in the meantime, and continue."""
        self.frozen = False
        parked, self._parked = self._parked, []
        for step in parked:
            if not step.handle.cancelled():
                loop.call_soon(step, context=step.context)

    def run(self, step: "_Step") -> None:
        """Run a step now, or when this process is thawed."""
        if self.frozen:
            self._parked.append(step)
        else:
            step.callback(*step.arguments)


_RUNNING: Final[ContextVar[Process | None]] = ContextVar("asyncbatch_process", default=None)


@dataclass(slots=True, eq=False)
class _Step:
    """A callback of an event loop for a process."""

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
    """Wrap a callback that belongs to a process, and return its context; None if it belongs to none."""
    process = _RUNNING.get() if context is None else context.get(_RUNNING)
    if process is None or isinstance(callback, _Step):
        return None
    chosen = copy_context() if context is None else context
    return _Step(process, chosen, callback, arguments), chosen

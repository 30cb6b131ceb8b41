"""Why and when a worker stops."""

import logging
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

import anyio

from asyncbatch.errors import AwsError
from asyncbatch.wire.messages import TERMINATED
from asyncbatch.worker.lifeline import wait_for_main_gone
from asyncbatch.worker.presence import Presence

log: Final = logging.getLogger(__name__)

_CHECKS: Final = 4
"""Checks of main's heartbeat in a run lease."""

_LAST_POLL: Final = 10.0
"""Seconds that the poll under way may take after SIGTERM. SIGKILL comes after 30, and the tiles and the goodbye need
the rest."""


class Stop(Enum):
    """Why a worker stops."""

    SENTINEL = "sentinel"
    IDLE = "idle"
    TERMINATED = TERMINATED
    BROKEN = "broken"
    RUN_OVER = "run over"

    @property
    def abandons_tiles(self) -> bool:
        """Whether the worker does not finish the tiles that it holds."""
        return self in {Stop.TERMINATED, Stop.RUN_OVER, Stop.BROKEN}


async def watch_signals(terminate: Callable[[], None]) -> None:
    """Call `terminate` at each signal that ends a process: SIGTERM, and Ctrl-C's SIGINT."""
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            terminate()


@dataclass(kw_only=True, eq=False)
class Lifecycle:
    """Watches for all that stops a worker, and cancels what is then no longer wanted."""

    presence: Presence
    lifeline: str
    """Main's process, as `identify` has it, if the worker is to stop when it is gone; else empty."""
    watch_termination: Callable[[Callable[[], None]], Awaitable[None]] = watch_signals
    """Runs beside the worker, and calls its argument when the worker is to stop at once."""
    stop: Stop | None = None
    """Why the worker stops; None while it does not."""
    tiles: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    """The scope in which tiles are received and computed."""
    poll: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    """The scope of the poll under way."""
    stopped: anyio.Event = field(default_factory=anyio.Event)
    """Set when there is a reason to stop."""

    def end(self, why: Stop) -> None:
        """Stop receiving; unless the tiles are to be finished first, abandon them now."""
        if self.stop is not None and why is Stop.SENTINEL:
            return
        level = logging.WARNING if why is Stop.BROKEN else logging.INFO
        log.log(level, "worker stops", extra={"action": "worker_stops", "reason": why.value})
        self.stop = why
        self.presence.doubt()
        self.stopped.set()
        if why.abandons_tiles:
            self.tiles.cancel()
        if why is Stop.RUN_OVER:
            self.poll.cancel()
        elif why is Stop.TERMINATED:  # a poll may take twice as long, and the goodbye would come too late
            self.poll.deadline = min(self.poll.deadline, anyio.current_time() + _LAST_POLL)

    def end_run(self) -> None:
        """Stop since the run is over."""
        self.end(Stop.RUN_OVER)

    async def watch(self) -> None:
        """Watch until cancelled."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._watch_run)
            group.start_soon(self._watch_termination)
            if self.lifeline:
                group.start_soon(self._watch_main)

    async def _watch_run(self) -> None:
        while True:
            await anyio.sleep(self.presence.manifest.run_lease / _CHECKS)
            try:
                if await self.presence.is_over():
                    self.end_run()
            except AwsError as error:
                log.warning("run check failed", extra={"action": "run_check_failed", "why": error})

    async def _watch_termination(self) -> None:
        await self.watch_termination(lambda: self.end(Stop.TERMINATED))

    async def _watch_main(self) -> None:
        await wait_for_main_gone(self.lifeline)
        self.end_run()

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
"""Number of checks of main's heartbeat per run lease."""

_LAST_POLL: Final = 10.0
"""Maximum number of seconds of the current poll after SIGTERM. SIGKILL follows after 30 s, and tiles and the goodbye
need the rest."""


class Stop(Enum):
    """Why a worker stops."""

    SENTINEL = "sentinel"
    IDLE = "idle"
    TERMINATED = TERMINATED
    BROKEN = "broken"
    RUN_OVER = "run over"

    @property
    def abandons_tiles(self) -> bool:
        """Whether the worker abandons the tiles that it holds."""
        return self in {Stop.TERMINATED, Stop.RUN_OVER, Stop.BROKEN}


async def watch_signals(terminate: Callable[[], None]) -> None:
    """Call `terminate` at each signal that ends a process: SIGTERM and SIGINT."""
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            terminate()


@dataclass(kw_only=True, eq=False)
class Lifecycle:
    """Watches for reasons to stop a worker, and cancels its work accordingly."""

    presence: Presence
    lifeline: str
    """Main's process, from `identify`, if the worker stops when it ends; otherwise empty."""
    watch_termination: Callable[[Callable[[], None]], Awaitable[None]] = watch_signals
    """Runs concurrently, and calls its argument when the worker must stop immediately."""
    stop: Stop | None = None
    """Why the worker stops; None while it runs."""
    tiles: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    """The scope in which tiles are received and computed."""
    poll: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    """The scope of the current poll."""
    stopped: anyio.Event = field(default_factory=anyio.Event)
    """Set when there is a reason to stop."""

    def end(self, why: Stop) -> None:
        """Stop receiving; abandon held tiles, unless the worker should finish them first."""
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
        elif why is Stop.TERMINATED:  # a poll may take twice as long, and the goodbye would be too late
            self.poll.deadline = min(self.poll.deadline, anyio.current_time() + _LAST_POLL)

    def end_run(self) -> None:
        """Stop because the run has ended."""
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
                log.warning("can't check main's heartbeat", extra={"action": "run_check_failed", "why": error})

    async def _watch_termination(self) -> None:
        await self.watch_termination(lambda: self.end(Stop.TERMINATED))

    async def _watch_main(self) -> None:
        await wait_for_main_gone(self.lifeline)
        self.end_run()

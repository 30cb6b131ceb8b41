"""Watches a slot while it computes, to end tiles that take too long and processes that are stuck."""

import asyncio
import contextlib
import functools
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Final

from asyncbatch.errors import AsyncBatchError
from asyncbatch.wire.messages import Cause, Loss
from asyncbatch.worker.failures import cut
from asyncbatch.worker.health import Health, Sample
from asyncbatch.worker.memory import find_oom_counter, read_oom_kills
from asyncbatch.worker.stacks import read_stacks, trim_stacks

_INTERVAL: Final = 0.5
"""Seconds between two checks of a process."""

_CHILD: Final = str(Path(__file__).with_name("child.py"))
"""The slot's own code, whose frames are omitted from stacks for main."""

_STACKS: Final = 32_000
"""Maximum number of characters of stacks for main."""


class SlotDiedError(AsyncBatchError):
    """A slot's process ended during a tile, or did not start.

    Parameters
    ----------
    loss : Loss or str
        The description for main if this was the tile's last attempt, or only the reason.
    """

    def __init__(self, loss: Loss | str) -> None:
        self.loss = loss if isinstance(loss, Loss) else Loss(reason=loss)
        super().__init__(self.loss.reason)


@functools.cache
def _find_counter() -> Path | None:
    """Return the file with the number of kills. Cached, since finding it takes longer than a small tile."""
    return find_oom_counter()


@functools.lru_cache(maxsize=1)
def _count_kills(interval: int) -> int | None:
    """Return the number of kills, read at most once in each interval, since reading takes longer than a small tile."""
    del interval
    return read_oom_kills(_find_counter())


@dataclass(slots=True, kw_only=True)
class Guard:
    """Watches one tile in a slot's process."""

    pid: int
    pipe: int
    """Pipe to which the process writes its stacks; see `stacks`."""
    timeout: float
    """Maximum number of seconds for the tile; 0 for no limit."""
    health: Health = field(default_factory=Health)
    _oom_kills: int | None = field(default_factory=lambda: _count_kills(int(time.monotonic() / _INTERVAL)))
    """Count shortly before the tile began; None if it is not known."""
    _reason: str = ""
    _cause: Cause = "died"

    @contextlib.contextmanager
    def watch(self, end: Callable[[], None]) -> Iterator[None]:
        """Watch during the block; call `end` once when the process must be killed."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + self.timeout if self.timeout else inf
        timer: asyncio.TimerHandle

        def plan_check() -> asyncio.TimerHandle:
            # A timer, since a task would take longer than all else that a worker does for a small tile.
            return loop.call_at(min(loop.time() + _INTERVAL, ends), check)

        def check() -> None:
            nonlocal timer
            self._judge(loop.time(), ends)
            if self.doomed:
                end()
            else:
                timer = plan_check()

        timer = plan_check()
        try:
            yield
        finally:
            timer.cancel()

    @property
    def doomed(self) -> bool:
        """Whether the process must be killed."""
        return bool(self._reason)

    def _judge(self, now: float, ends: float) -> None:
        """Note whether the process must be killed, since the tile's time is over or since the process is stuck."""
        if now >= ends:
            self._reason = f"it took longer than its tile_timeout of {self.timeout:g} s"
            self._cause = "timeout"
        else:
            self._reason = self.health.note(Sample.take(self.pid), now)

    async def conclude(self) -> Loss:
        """Return why the process must be killed, with its stacks if available.

        Call this only when no response is expected, since the signal for stacks interrupts system calls.
        """
        stacks = ""
        if self._cause == "timeout":  # in other cases the process is not running
            stacks = trim_stacks(await read_stacks(self.pid, self.pipe), own=_CHILD)
        return Loss(reason=self._reason, cause=self._cause, stack=cut(stacks, _STACKS), peak=self.health.peak)

    def describe_end(self, code: int, *, peak: int) -> Loss:
        """Return why the process has ended, for example killed for lack of memory.

        Parameters
        ----------
        code : int
            Its exit status, or a negative signal number.
        peak : int
            Its peak memory in bytes according to the kernel; 0 if it is not known.
        """
        peak = max(self.health.peak, peak)
        now = read_oom_kills(_find_counter())
        counted = None if now is None or self._oom_kills is None else now - self._oom_kills
        return describe_end(code, peak=peak, oom_kills=counted)


def describe_end(code: int, *, peak: int = 0, oom_kills: int | None = 0) -> Loss:
    """Return why a slot's process has ended.

    Parameters
    ----------
    code : int
        Its exit status, or a negative signal number.
    peak : int
        Its peak memory in bytes, as far as observed; 0 if it is not known.
    oom_kills : int or None
        Number of processes that the kernel has killed for lack of memory in the meantime; None if it is not known.
    """
    had = f"; its peak memory was {peak / 2**20:.0f} MiB" if peak else ""
    if code >= 0:
        return Loss(reason=f"the slot's process exited with status {code}", peak=peak)
    name = signal.Signals(-code).name if -code in set(signal.Signals) else "unknown"
    killed = f"the slot's process was killed by signal {-code} ({name})"
    if -code != signal.SIGKILL:
        return Loss(reason=killed, peak=peak)
    if oom_kills:
        advice = ". Give workers more memory or fewer slots, or make tiles smaller"
        return Loss(reason=f"{killed} by the kernel for lack of memory{had}{advice}", cause="memory", peak=peak)
    return Loss(reason=killed + (", possibly for lack of memory" if oom_kills is None else "") + had, peak=peak)

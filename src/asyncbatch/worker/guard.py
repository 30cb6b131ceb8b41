"""Watches a slot while it computes: what takes too long, or does not get on, ends."""

import functools
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import anyio

from asyncbatch.errors import AsyncBatchError
from asyncbatch.wire.messages import Cause, Loss
from asyncbatch.worker.failures import cut
from asyncbatch.worker.health import Health, Sample
from asyncbatch.worker.memory import find_oom_counter, read_oom_kills
from asyncbatch.worker.stacks import read_stacks, trim_stacks

_INTERVAL: Final = 0.5
"""Seconds between two looks at a process."""

_CHILD: Final = str(Path(__file__).with_name("child.py"))
"""The slot's own code, whose frames the stacks that main gets are without."""

_STACKS: Final = 32_000
"""Characters of the stacks that main gets."""


class SlotDiedError(AsyncBatchError):
    """A slot's process ended in the middle of a tile, or did not start.

    Parameters
    ----------
    loss : Loss or str
        What main learns if this was the tile's last attempt; or just the reason.
    """

    def __init__(self, loss: Loss | str) -> None:
        self.loss = loss if isinstance(loss, Loss) else Loss(reason=loss)
        super().__init__(self.loss.reason)


@functools.cache
def _find_counter() -> Path | None:
    """Return the file with the number of kills; searching it takes longer than a small tile may."""
    return find_oom_counter()


@dataclass(slots=True, kw_only=True)
class Guard:
    """Watches one tile in a slot's process."""

    pid: int
    pipe: int
    """Where the process writes its stacks; see `stacks`."""
    timeout: float
    """Seconds that the tile may take; 0: no limit."""
    health: Health = field(default_factory=Health)
    _oom_kills: int | None = field(default_factory=lambda: read_oom_kills(_find_counter()))
    """Before the tile began; None: not known."""
    _reason: str = ""
    _cause: Cause = "died"

    async def watch(self) -> None:
        """Return when the process must be killed."""
        started = anyio.current_time()
        ends = started + self.timeout if self.timeout else float("inf")
        while not self._reason:
            await anyio.sleep(min(_INTERVAL, ends - anyio.current_time()))
            now = anyio.current_time()
            if now >= ends:
                self._reason = f"it was not done after {self.timeout:g} s, which is its tile_timeout"
                self._cause = "timeout"
            else:
                self._reason = self.health.note(Sample.take(self.pid), now)

    async def conclude(self) -> Loss:
        """Return why the process must be killed, and where it stands if it can say so.

        To be called when no answer is taken any more: the signal that asks for the stacks interrupts system calls.
        """
        stacks = ""
        if self._cause == "timeout":  # any other does not run at all
            stacks = trim_stacks(await read_stacks(self.pid, self.pipe), own=_CHILD)
        return Loss(reason=self._reason, cause=self._cause, stack=cut(stacks, _STACKS), peak=self.health.peak)

    def describe_end(self, code: int, *, peak: int) -> Loss:
        """Return why the process has ended: the kernel may have killed it for lack of memory.

        Parameters
        ----------
        code : int
            Its exit status, or a negative signal.
        peak : int
            Most bytes of memory that it had by the kernel's account; 0: not known.
        """
        peak = max(self.health.peak, peak)
        now = read_oom_kills(_find_counter())
        counted = None if now is None or self._oom_kills is None else now - self._oom_kills
        return describe_end(code, peak=peak, oom_kills=counted)


def describe_end(code: int, *, peak: int = 0, oom_kills: int | None = 0) -> Loss:
    """Return why a slot's process has ended. Pure.

    Parameters
    ----------
    code : int
        Its exit status, or a negative signal.
    peak : int
        Most bytes of memory that it was seen to have; 0: not known.
    oom_kills : int or None
        Processes that the kernel has killed for lack of memory meanwhile; None: not known.
    """
    had = f"; it had {peak / 2**20:.0f} MiB of memory" if peak else ""
    if code >= 0:
        return Loss(reason=f"the slot's process exited with status {code}", peak=peak)
    name = signal.Signals(-code).name if -code in set(signal.Signals) else "unknown"
    killed = f"the slot's process was killed by signal {-code} ({name})"
    if -code != signal.SIGKILL:
        return Loss(reason=killed, peak=peak)
    if oom_kills:
        advice = ". Give workers more memory or fewer slots, or make tiles smaller"
        return Loss(reason=f"{killed} by the kernel for lack of memory{had}{advice}", cause="memory", peak=peak)
    return Loss(reason=killed + (", perhaps for lack of memory" if oom_kills is None else "") + had, peak=peak)

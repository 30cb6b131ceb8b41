"""Watches a slot while it computes: what takes too long, or does not get on, ends."""

from dataclasses import dataclass, field
from typing import Final

import anyio

from asyncbatch.errors import AsyncBatchError
from asyncbatch.messages import Cause, Loss
from asyncbatch.worker import child
from asyncbatch.worker.failures import cut
from asyncbatch.worker.health import Health, Sample
from asyncbatch.worker.stacks import read_stacks, trim_stacks

_INTERVAL: Final = 0.5
"""Seconds between two looks at a process."""

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


@dataclass(slots=True, kw_only=True)
class Guard:
    """Watches one tile in a slot's process."""

    pid: int
    pipe: int
    """Where the process writes its stacks; see `stacks`."""
    timeout: float
    """Seconds that the tile may take; 0: no limit."""
    health: Health = field(default_factory=Health)
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
        """Return why the process must be killed, and where it stands.

        To be called when no answer is taken any more: the signal that asks for the stacks interrupts system calls.
        """
        stacks = trim_stacks(await read_stacks(self.pid, self.pipe), own=child.__file__)
        return Loss(reason=self._reason, cause=self._cause, stack=cut(stacks, _STACKS))

"""Watches a slot while it computes: what takes too long ends, with the stack of where it stood."""

from dataclasses import dataclass

import anyio

from asyncbatch.errors import AsyncBatchError
from asyncbatch.messages import Loss
from asyncbatch.worker import child
from asyncbatch.worker.failures import cut
from asyncbatch.worker.stacks import read_stacks, trim_stacks

_STACKS = 32_000
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """Watches one tile in a slot's process."""

    pid: int
    pipe: int
    """Where the process writes its stacks; see `stacks`."""
    timeout: float
    """Seconds that the tile may take; 0: no limit."""

    async def watch(self) -> None:
        """Return when the process must be killed."""
        if not self.timeout:
            await anyio.sleep_forever()
        await anyio.sleep(self.timeout)

    async def conclude(self) -> Loss:
        """Return why the process must be killed, and where it stands.

        To be called when no answer is taken any more: the signal that asks for the stacks interrupts system calls.
        """
        stacks = trim_stacks(await read_stacks(self.pid, self.pipe), own=child.__file__)
        reason = f"it was not done after {self.timeout:g} s, which is its tile_timeout"
        return Loss(reason=reason, cause="timeout", stack=cut(stacks, _STACKS))

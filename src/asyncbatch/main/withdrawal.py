"""Removes cancelled tiles from the task queue if no worker has received them."""

import logging
from collections.abc import Awaitable, Callable
from typing import Final

import anyio

from asyncbatch.errors import AwsError

log: Final = logging.getLogger(__name__)

_BURST: Final = 0.05
"""Seconds to wait for more cancellations, since an abandoned `map` cancels its whole window."""


class Withdrawals:
    """Withdraws tiles in the background.

    Parameters
    ----------
    withdraw : callable
        Called with the indices of tiles; searches the task queue for them.
    """

    def __init__(self, withdraw: Callable[[set[int]], Awaitable[None]]) -> None:
        self._withdraw = withdraw
        self._indices: set[int] = set()
        self._added = anyio.Event()

    def add(self, index: int) -> None:
        """Withdraw a tile soon."""
        self._indices.add(index)
        self._added.set()

    async def run(self) -> None:
        """Withdraw tiles until cancelled. Tiles that workers already hold are still computed."""
        while True:
            await self._added.wait()
            await anyio.sleep(_BURST)
            self._added = anyio.Event()
            indices, self._indices = self._indices, set()
            try:
                await self._withdraw(indices)
            except AwsError as error:
                log.warning("can't withdraw cancelled tiles: %s", error, extra={"action": "withdrawal_failed"})

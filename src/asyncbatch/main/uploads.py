"""Uploads payloads. Limits concurrent uploads by the time that they take, and delays them while idle slots wait."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import anyio

from asyncbatch.aws.protocols import PutBlob
from asyncbatch.errors import ProgramError
from asyncbatch.main.garbage import Garbage
from asyncbatch.main.tile import Tile
from asyncbatch.wire.manifest import OBJECT_LIMIT, in_key
from asyncbatch.wire.messages import Body

LEAST: Final = 8
"""Number of concurrent uploads at first, and at least. If they share a slow connection, more of them finish no earlier,
and the first ones finish later."""

MOST: Final = 32

QUICK: Final = 0.5
"""Seconds. Uploads that take less are limited by latency rather than bandwidth, so one more is allowed after each."""


class Uploads:
    """The concurrent uploads of a run.

    Parameters
    ----------
    run : str
        The run's id.
    objects : PutBlob
        The bucket.
    garbage : Garbage
        Deletes payloads.
    """

    def __init__(self, run: str, *, objects: PutBlob, garbage: Garbage) -> None:
        self._run = run
        self._objects = objects
        self._garbage = garbage
        self.limiter = anyio.CapacityLimiter(LEAST)
        """Held during an upload."""
        self._urgent = 0
        self._done = anyio.Event()
        """Set when no urgent tile is left."""

    async def store(self, tile: Tile, *, limit: int) -> Body:
        """Upload a payload if it has more than `limit` bytes, and return its description.

        Raises
        ------
        ProgramError
            If it is too large for S3.
        """
        if len(tile.content) > OBJECT_LIMIT:
            raise ProgramError(
                f"the arguments of a tile have {len(tile.content)} bytes; S3 allows {OBJECT_LIMIT} per request. "
                "Pass a path, and read the data in the function"
            )
        async with self.limiter:
            body = Body.of(tile.content, key=in_key(self._run, tile.index), limit=limit)
            if body.key is not None:
                tile.in_key = body.key
                with self.measure():
                    await self._objects.put(body.key, tile.content)
            tile.content = b""
        return body

    async def store_together(self, tiles: Sequence[Tile]) -> list[Body]:
        """Upload several payloads as one object, and return their descriptions."""
        key = in_key(self._run, tiles[0].index)
        async with self.limiter:
            content, bodies = Body.of_parts([tile.content for tile in tiles], key=key)
            self._garbage.share(key, [tile.index for tile in tiles])
            for tile in tiles:
                tile.in_key, tile.content = key, b""
            with self.measure():
                await self._objects.put(key, content)
        return bodies

    @contextmanager
    def delay_others(self) -> Iterator[None]:
        """Let `wait_for_urgent` wait during the block, which sends a tile for which an idle slot waits.

        Otherwise the payloads of tiles that are needed later would take half of the connection, and of main's CPU.
        """
        self._urgent += 1
        try:
            yield
        finally:
            self._urgent -= 1
            if not self._urgent:
                self._done.set()
                self._done = anyio.Event()

    async def wait_for_urgent(self) -> None:
        """Wait until no urgent tile is being sent."""
        while self._urgent:
            await self._done.wait()

    @contextmanager
    def measure(self) -> Iterator[None]:
        """Measure an upload in the block, and adapt the limit to its time."""
        began = anyio.current_time()
        yield
        step = 1 if anyio.current_time() - began < QUICK else -1
        self.limiter.total_tokens = max(LEAST, min(MOST, self.limiter.total_tokens + step))

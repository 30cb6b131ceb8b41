"""An upper limit of the rate: obstore transfers each tile; there are no workers and no messages."""

import asyncio
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Final

import obstore
from obstore.store import S3Store

_TILES: Final = 64
_BYTES: Final = 256 * 2**20
"""Limits of tiles in flight, and of the bytes of their payloads and results: the same as asyncbatch's."""


class BareLoop:
    """A loop that stores and fetches each payload and each result."""

    has_workers: ClassVar[bool] = False

    def open(self, workers: int) -> None:
        """Create the store."""
        del workers
        self._store = S3Store(
            "rios-batchbucket", endpoint=os.environ["AWS_ENDPOINT_URL"], client_options={"allow_http": True}
        )

    def map(self, function: Callable[..., Any], blocks: Sequence[Any], *, shared: object = None) -> Iterator[Any]:
        """Upload and download the payload and result of all tiles; each is computed in a thread."""
        del shared  # shared values are not measured
        return iter(asyncio.run(self._transfer_all(function, blocks)))

    async def _transfer_all(self, function: Callable[..., Any], blocks: Sequence[Any]) -> list[Any]:
        limit = asyncio.Semaphore(max(1, min(_TILES, _BYTES // (2 * blocks[0].nbytes))))

        async def transfer(place: int, block: Any) -> Any:  # noqa: ANN401 - any value
            async with limit:
                payload = await self._pass_through(f"{place}_in", block)
                result = await asyncio.to_thread(function, payload)
                return await self._pass_through(f"{place}_out", result)

        return await asyncio.gather(*(transfer(place, block) for place, block in enumerate(blocks)))

    async def _pass_through(self, key: str, value: object) -> Any:  # noqa: ANN401 - as above
        await obstore.put_async(self._store, key, pickle.dumps(value, protocol=5))
        content = await (await obstore.get_async(self._store, key)).bytes_async()
        await obstore.delete_async(self._store, key)
        return pickle.loads(content)  # noqa: S301 - written above

    def close(self) -> None:
        """Do nothing, since the loop has ended."""

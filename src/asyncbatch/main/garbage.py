"""Deletes payloads and results that are no longer needed, in batches."""

import logging
from collections.abc import Iterable
from typing import Final

from asyncbatch.aws.objects import DELETE_LIMIT
from asyncbatch.aws.protocols import DeleteBlobs
from asyncbatch.batching.batcher import Batcher
from asyncbatch.errors import AwsError

log: Final = logging.getLogger(__name__)

_LINGER: Final = 10.0


class Garbage:
    """The objects of a run that are to be deleted. Those that remain are deleted at its end.

    Parameters
    ----------
    objects : DeleteBlobs
        Deletes them.
    """

    def __init__(self, objects: DeleteBlobs) -> None:
        self._objects = objects
        self._keys: Batcher[str] = Batcher(self._delete, most=DELETE_LIMIT, linger=lambda: _LINGER)
        self._sharing: dict[str, set[int]] = {}
        self.run = self._keys.run

    def share(self, key: str, tiles: Iterable[int]) -> None:
        """Keep an object until it has been discarded for each of these tiles."""
        self._sharing.setdefault(key, set()).update(tiles)

    def discard(self, tile: int, *keys: str | None) -> None:
        """Delete objects soon, unless other tiles share them. A tile may discard an object more than once."""
        for key in keys:
            if key is None:
                continue
            if key in self._sharing:
                self._sharing[key].discard(tile)
                if self._sharing[key]:
                    continue
                del self._sharing[key]
            self._keys.add(key)

    async def _delete(self, keys: list[str]) -> None:
        try:
            await self._objects.delete(keys)
        except AwsError as error:
            log.warning("can't delete objects: %s", error, extra={"action": "deletion_failed"})

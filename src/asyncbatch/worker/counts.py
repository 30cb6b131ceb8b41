"""Counts of attempts, stored in the bucket since dead workers can't report them."""

import logging
from dataclasses import dataclass
from typing import Final, Protocol

from asyncbatch.aws.protocols import GetBlob, PutBlob
from asyncbatch.errors import AwsError, BlobMissing, QueueGone
from asyncbatch.wire.manifest import Manifest, begun_key
from asyncbatch.worker.attempts import Verdict, judge, needs_count

log: Final = logging.getLogger(__name__)


class Blobs(GetBlob, PutBlob, Protocol):
    """The operations on the bucket that counts need."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Reads and writes the number of attempts at a tile."""

    manifest: Manifest
    blobs: Blobs

    async def judge(self, index: int, deliveries: int, *, copy: bool = False) -> Verdict:
        """Return what to do with a delivered tile."""
        most = self.manifest.max_attempts
        counted, readable = None, True
        if needs_count(deliveries=deliveries, max_attempts=most, copy=copy):
            counted, readable = await self._read(index)
        return judge(counted=counted, readable=readable, deliveries=deliveries, max_attempts=most, copy=copy)

    async def write(self, index: int, count: int) -> bool:
        """Store a count, and return whether that succeeded."""
        try:
            await self.blobs.put(begun_key(self.manifest.run, index), str(count).encode())
        except QueueGone:  # no longer needed
            return False
        except AwsError as error:
            log.warning(
                "can't write the count of attempts",
                extra={"action": "attempt_not_counted", "tile": index, "why": error},
            )
            return False
        return True

    async def _read(self, index: int) -> tuple[int | None, bool]:
        """Return a tile's count, None if there is none, and whether it could be read."""
        try:
            return int(await self.blobs.get(begun_key(self.manifest.run, index))), True
        except BlobMissing:
            return None, True
        except (AwsError, ValueError) as error:
            log.warning("attempts unknown", extra={"action": "attempts_unknown", "tile": index, "why": error})
            return None, False

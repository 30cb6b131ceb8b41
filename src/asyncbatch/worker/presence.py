"""Whether the run is still there: a worker that was stopped, or has to leave, must not write for one that is over."""

from dataclasses import dataclass
from math import inf
from typing import Final, Protocol

import anyio

from asyncbatch.aws.protocols import AgeOfBlob, Content, GetBlob, PutBlob
from asyncbatch.errors import AwsError, QueueGone
from asyncbatch.wire.manifest import Manifest, alive_key

_FRESH: Final = 1 / 3
"""Of a lease: so old may be what is known of the run, which renewals of leases tell as often."""


class Bucket(AgeOfBlob, GetBlob, PutBlob, Protocol):
    """What a worker needs of the bucket."""


@dataclass(slots=True, kw_only=True)
class Presence:
    """Knows when a run was last seen to be there."""

    manifest: Manifest
    blobs: AgeOfBlob
    _seen_at: float = -inf
    _doubted_at: float = -inf

    def note(self, asked: float) -> None:
        """Note that one of the run's queues has answered what it was `asked` at a time."""
        if asked >= self._doubted_at:
            self._seen_at = max(self._seen_at, asked)

    def doubt(self) -> None:
        """Note that the run may be over: what was asked before says nothing any more."""
        self._seen_at, self._doubted_at = -inf, anyio.current_time()

    async def is_over(self) -> bool:
        """Ask for main's heartbeat, and return whether the run is over.

        Raises
        ------
        AwsError
            If AWS can't be asked.
        """
        asked = anyio.current_time()
        age = await self.blobs.age(alive_key(self.manifest.run))
        if age is None or age.seconds > self.manifest.run_lease:
            return True
        self.note(asked)
        return False

    async def may_write(self) -> bool:
        """Return whether to write: not for a run that is over. Where nothing new is known, AWS is asked."""
        if anyio.current_time() - self._seen_at <= self.manifest.lease * _FRESH:
            return True
        try:
            return not await self.is_over()
        except AwsError:  # then writing will show
            return True


@dataclass(frozen=True, slots=True, kw_only=True)
class RunBlobs:
    """The bucket as the tiles of a run use it: once the run is over, nothing is written that nobody would delete."""

    blobs: Bucket
    presence: Presence

    async def get(self, key: str, *, sha256: str | None = None, size: int | None = None) -> Content:
        """Return an object, as `asyncbatch.aws.objects.Objects` does."""
        return await self.blobs.get(key, sha256=sha256, size=size)

    async def put(self, key: str, content: Content, *, sha256: str | None = None) -> None:
        """Store an object.

        Raises
        ------
        QueueGone
            If the run is over.
        """
        if not await self.presence.may_write():
            raise QueueGone(f"run {self.presence.manifest.run} is over, so {key} is not written")
        await self.blobs.put(key, content, sha256=sha256)

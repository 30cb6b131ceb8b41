"""Detects whether the run has ended, since a worker that was stopped or must exit must not write for an ended run."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from math import inf
from typing import Final, Protocol

import anyio

from asyncbatch.aws.protocols import AgeOfBlob, Content, GetBlob
from asyncbatch.errors import AwsError, QueueGone
from asyncbatch.wire.manifest import Manifest, alive_key

_FRESH: Final = 1 / 3
"""Maximum age of information about the run, as a fraction of a lease; renewals of leases provide it as often."""


class Bucket(AgeOfBlob, GetBlob, Protocol):
    """The operations on the bucket that a worker needs."""

    async def put(
        self, key: str, content: Content, *, sha256: str | None = None, check: Callable[[], Awaitable[None]]
    ) -> None:
        """Store an object; `check` is awaited before each attempt."""


@dataclass(slots=True, kw_only=True)
class Presence:
    """Tracks when the run was last known to exist."""

    manifest: Manifest
    blobs: AgeOfBlob
    _seen_at: float = -inf
    _doubted_at: float = -inf

    def note(self, asked: float) -> None:
        """Note that one of the run's queues responded to a request made at time `asked`."""
        if asked >= self._doubted_at:
            self._seen_at = max(self._seen_at, asked)

    def doubt(self) -> None:
        """Note that the run may have ended. Earlier requests no longer count."""
        self._seen_at, self._doubted_at = -inf, anyio.current_time()

    async def is_over(self) -> bool:
        """Check main's heartbeat, and return whether the run has ended.

        Raises
        ------
        AwsError
            If the request to AWS fails.
        """
        asked = anyio.current_time()
        age = await self.blobs.age(alive_key(self.manifest.run))
        if age is None or age.seconds > self.manifest.run_lease:
            return True
        self.note(asked)
        return False

    async def may_write(self) -> bool:
        """Return whether the run exists, so that the worker may write; check with AWS if the information is old."""
        if anyio.current_time() - self._seen_at <= self.manifest.lease * _FRESH:
            return True
        try:
            return not await self.is_over()
        except AwsError:  # writing will show
            return True


@dataclass(frozen=True, slots=True, kw_only=True)
class RunBlobs:
    """The bucket for the tiles of a run, to which nothing is written after the run has ended."""

    blobs: Bucket
    presence: Presence

    async def get(self, key: str, *, sha256: str | None = None, size: int | None = None) -> Content:
        """Return an object; see `asyncbatch.aws.objects.Objects`."""
        return await self.blobs.get(key, sha256=sha256, size=size)

    async def put(self, key: str, content: Content, *, sha256: str | None = None) -> None:
        """Store an object.

        Raises
        ------
        QueueGone
            If the run is over.
        """
        checked = False

        async def check() -> None:
            nonlocal checked
            if checked:  # the run may have ended during an attempt that failed, or the pause after it
                self.presence.doubt()
            checked = True
            if not await self.presence.may_write():
                raise QueueGone(f"run {self.presence.manifest.run} has ended, so {key} is not written")

        await self.blobs.put(key, content, sha256=sha256, check=check)

"""Fetches the bodies of messages."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from math import inf

import anyio

from asyncbatch.aws.protocols import Content, GetBlob
from asyncbatch.wire.messages import Body


@dataclass(slots=True, kw_only=True)
class _Fetch:
    """An object that holds several bodies."""

    lock: anyio.Lock = field(default_factory=anyio.Lock)
    content: Content | None = None
    users: int = 0


@dataclass(slots=True, kw_only=True)
class Bodies:
    """Fetches bodies from a bucket; an object that holds several is fetched once for those needed at the same time."""

    blobs: GetBlob
    most: float = inf
    """Maximum number of concurrent requests."""
    _fetches: dict[str, _Fetch] = field(default_factory=dict)
    _limiter: anyio.CapacityLimiter = field(init=False)

    def __post_init__(self) -> None:
        self._limiter = anyio.CapacityLimiter(self.most)

    async def fetch(self, body: Body) -> Content:
        """Return the content of a body, which the caller owns.

        Raises
        ------
        BlobMissing
            If its object is missing.
        BlobCorrupt
            If its object is damaged.
        AwsError
            If the request fails.
        """
        if body.key is None:
            return body.inline or b""
        if not body.object_size:
            return await self._get(body.key, body.sha256, body.size)
        async with self._share(body.key) as fetch:
            if fetch.content is None:
                fetch.content = await self._get(body.key, body.sha256, body.object_size)
            return fetch.content[body.start : body.start + body.size]

    @asynccontextmanager
    async def _share(self, key: str) -> AsyncIterator[_Fetch]:
        fetch = self._fetches.setdefault(key, _Fetch())
        fetch.users += 1
        try:
            async with fetch.lock:
                yield fetch
        finally:
            fetch.users -= 1
            if not fetch.users:
                del self._fetches[key]

    async def _get(self, key: str, sha256: str, size: int) -> Content:
        async with self._limiter:
            return await self.blobs.get(key, sha256=sha256, size=size)

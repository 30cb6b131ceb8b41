"""Transfers the contents of objects to and from S3. Each function makes one attempt."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final, Self

import anyio
import anyio.to_thread
import obstore
from obstore.store import S3Store

from asyncbatch.aws.errors import translate_errors
from asyncbatch.aws.protocols import Content
from asyncbatch.aws.session import READ_TIMEOUT, AwsSession, Signing
from asyncbatch.aws.stores import STORE_ERRORS, StorePlan, read_code, translate_body_errors, translate_store_errors
from asyncbatch.errors import AwsError, BlobCorrupt

PART: Final = 16 * 2**20
"""Size in bytes of a part of a large object."""

WHOLE: Final = 2 * PART
"""Maximum size in bytes of an object that is transferred in one request."""

_AT_ONCE: Final = 4
"""Number of parts to transfer at one time: one connection to S3 carries about 80 MB/s."""

_SLOWEST: Final = 20_000
"""Bytes per second below which an upload counts as hanging."""

_LONG_HASH: Final = 2**20
"""Size in bytes from which hashes are computed in a thread."""

SHA256: Final = "sha256"
"""Metadata key for the hash of an object sent in parts, since S3 only stores a hash of the parts' hashes."""


_IN_PARTS: Final = {"s3:CreateMultipartUpload": 1, "s3:CompleteMultipartUpload": 1}


@dataclass(slots=True, kw_only=True)
class _Stores:
    signing: Signing
    reads: S3Store
    writes: S3Store


@dataclass(slots=True, kw_only=True)
class Transfers:
    """Transfers objects of one bucket."""

    _session: AwsSession = field(repr=False)
    _plan: StorePlan = field(repr=False)
    _stores: _Stores | None = field(default=None, repr=False)

    @classmethod
    def of(cls, session: AwsSession, bucket: str) -> Self:
        """Return an instance for a bucket of a session's account."""
        return cls(_session=session, _plan=StorePlan.of(session, bucket))

    async def put(self, key: str, content: Content, *, sha256: str | None) -> None:
        """Store an object; S3 verifies its SHA-256."""
        action = f"s3:PutObject s3://{self._plan.bucket}/{key} ({len(content)} bytes)"
        stores = await self._sign(action)
        parts = -(-len(content) // PART) if len(content) > WHOLE else 0
        self._session.requests.update(_IN_PARTS | {"s3:UploadPart": parts} if parts else {"s3:PutObject": 1})
        with translate_store_errors(action), self._note_outcome(stores), anyio.fail_after(_limit(len(content))):
            await obstore.put_async(
                stores.writes,
                key,
                content,
                attributes={SHA256: sha256} if sha256 and parts else None,
                use_multipart=bool(parts),
                chunk_size=PART,
                max_concurrency=_AT_ONCE,
            )

    async def get(self, key: str, *, sha256: str | None, size: int | None) -> bytearray:
        """Return an object; verify its `sha256` and `size` if they are not None."""
        action = f"s3:GetObject s3://{self._plan.bucket}/{key}"
        stores = await self._sign(action)
        if size is not None and size > WHOLE:
            content = await self._get_parts(stores, key, size, action)
        else:
            content = bytearray(await self._get_some(stores, key, size, action))
        if sha256 is not None and await _hash(content) != sha256:
            raise BlobCorrupt(f"s3://{self._plan.bucket}/{key} ({len(content)} bytes) does not have SHA-256 {sha256}")
        return content

    async def _get_parts(self, stores: _Stores, key: str, size: int, action: str) -> bytearray:
        """Fetch an object of `size` bytes in parts, several at one time."""
        content = bytearray(size)
        limiter = anyio.CapacityLimiter(_AT_ONCE)
        failures: list[AwsError] = []

        async def get(start: int) -> None:
            end = min(start + PART, size)
            async with limiter:
                try:
                    part = await self._get_some(stores, key, size, action, span=(start, end))
                    content[start:end] = memoryview(part)
                except AwsError as error:
                    failures.append(error)
                    group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            for start in range(0, size, PART):
                group.start_soon(get, start)
        if failures:
            raise failures[0]
        return content

    async def _get_some(
        self, stores: _Stores, key: str, size: int | None, action: str, *, span: tuple[int, int] | None = None
    ) -> obstore.Bytes:
        """Fetch an object of `size` bytes, or a span of it, as obstore's bytes."""
        self._session.requests["s3:GetObject"] += 1
        with translate_store_errors(action), self._note_outcome(stores):
            answer = await obstore.get_async(stores.reads, key, options={"range": span} if span else None)
        found = answer.meta["size"]
        if size is not None and found != size:
            raise BlobCorrupt(f"s3://{self._plan.bucket}/{key} has {found} bytes, {size} expected")
        with translate_body_errors(action):
            return await answer.bytes_async()

    async def _sign(self, action: str) -> _Stores:
        """Return stores that sign with the current credentials; new ones after each renewal."""
        with translate_errors(action):
            signing = await self._session.sign()
        if self._stores is None or self._stores.signing.credentials != signing.credentials:
            self._stores = _Stores(
                signing=signing,
                reads=self._plan.open(signing.credentials, read_timeout=READ_TIMEOUT),
                writes=self._plan.open(signing.credentials, read_timeout=None),
            )
        self._stores.signing = signing
        return replace(self._stores)  # a copy, since the response may arrive after a renewal

    @contextmanager
    def _note_outcome(self, stores: _Stores) -> Iterator[None]:
        """Note whether AWS accepts the credentials in the block."""
        try:
            yield
        except STORE_ERRORS as error:
            if code := read_code(str(error)):
                self._session.note_answer(stores.signing.refusals, code)
            raise
        self._session.note_answer(stores.signing.refusals, "")


def _limit(size: int) -> float:
    """Return the maximum number of seconds for an upload of `size` bytes."""
    return READ_TIMEOUT + size / _SLOWEST


async def _hash(content: bytearray) -> str:
    if len(content) < _LONG_HASH:
        return hashlib.sha256(content).hexdigest()
    return (await anyio.to_thread.run_sync(hashlib.sha256, content)).hexdigest()

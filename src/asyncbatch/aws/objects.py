"""S3 objects."""

import base64
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, Final, Self

import anyio

from asyncbatch.aws.errors import make_error, translate_errors
from asyncbatch.aws.protocols import BlobAge, BlobInfo, Content, MoveContents
from asyncbatch.aws.retries import call_with_retries
from asyncbatch.aws.session import AwsSession
from asyncbatch.aws.transfers import SHA256, Transfers
from asyncbatch.errors import BlobMissing

DELETE_LIMIT: Final = 1000
"""Maximum number of keys in one DeleteObjects."""


@dataclass(slots=True, kw_only=True)
class Objects:
    """The objects of one bucket."""

    bucket: str
    _session: AwsSession = field(repr=False)
    _transfers: MoveContents = field(repr=False)
    _client: Any = field(default=None, repr=False)
    """For everything but contents. Created when first needed, since that is slow and some workers never need it."""
    _opening: anyio.Lock = field(default_factory=anyio.Lock, repr=False)

    @classmethod
    async def open(cls, session: AwsSession, bucket: str) -> Self:
        """Return an instance for `bucket`."""
        transfers = Transfers.of if session.transfers is None else session.transfers
        return cls(bucket=bucket, _session=session, _transfers=transfers(session, bucket))

    async def put(
        self,
        key: str,
        content: Content,
        *,
        sha256: str | None = None,
        check: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Store `content` under `key`, replacing an existing object.

        Parameters
        ----------
        key : str
            The object's key.
        content : bytes-like
            The content.
        sha256 : str, optional
            Hash of the content, which S3 verifies and stores.
        check : callable, optional
            Awaited before each attempt, which may be long after the first one. It raises an exception to prevent it.
        """

        async def attempt() -> None:
            if check is not None:
                await check()
            await self._transfers.put(key, content, sha256=sha256)

        await call_with_retries(attempt, self._session.retry_policy)

    async def get(self, key: str, *, sha256: str | None = None, size: int | None = None) -> bytearray:
        """Return the object under `key`.

        Parameters
        ----------
        key : str
            The object's key.
        sha256 : str, optional
            Expected hash of the content; if it differs, the object is fetched again.
        size : int, optional
            Expected size in bytes; an object of another size is not read.

        Raises
        ------
        BlobMissing
            If there is no such object.
        BlobCorrupt
            If the content is still wrong after retries.
        """
        return await call_with_retries(
            partial(self._transfers.get, key, sha256=sha256, size=size), self._session.retry_policy
        )

    async def age(self, key: str) -> BlobAge | None:
        """Return the age of the object under `key`, or None if there is none."""
        found = await self.describe(key)
        return None if found is None else BlobAge(seconds=found.age)

    async def describe(self, key: str) -> BlobInfo | None:
        """Return size, age and hash of the object under `key`, or None if there is none."""
        client = await self._open_client()

        async def call() -> BlobInfo:
            with translate_errors(f"s3:HeadObject s3://{self.bucket}/{key}"):
                head = await client.head_object(Bucket=self.bucket, Key=key, ChecksumMode="ENABLED")
            answered = head["ResponseMetadata"]["HTTPHeaders"].get("date")
            return BlobInfo(
                age=_compute_age(head["LastModified"], answered),
                size=head["ContentLength"],
                sha256=_read_sha256(head),
            )

        try:
            return await call_with_retries(call, self._session.retry_policy)
        except BlobMissing:
            return None

    async def list_folders(self, prefix: str) -> list[str]:
        """Return the folders under `prefix`: the parts of keys between it and the next slash."""
        client = await self._open_client()
        found: list[str] = []
        token: dict[str, str] = {}
        while True:
            with translate_errors(f"s3:ListBucket s3://{self.bucket}/{prefix}"):
                page = await client.list_objects_v2(Bucket=self.bucket, Prefix=prefix, Delimiter="/", **token)
            found += [entry["Prefix"].removeprefix(prefix).rstrip("/") for entry in page.get("CommonPrefixes", [])]
            if not page.get("IsTruncated"):
                return found
            token = {"ContinuationToken": page["NextContinuationToken"]}

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete the objects under `keys`; missing objects are ignored."""
        for start in range(0, len(keys), DELETE_LIMIT):
            await self._delete_some(keys[start : start + DELETE_LIMIT])

    async def delete_prefix(self, prefix: str) -> int:
        """Delete all objects whose key starts with `prefix`, and return their number."""
        client = await self._open_client()
        deleted = 0

        async def call() -> list[str]:
            with translate_errors(f"s3:ListBucket s3://{self.bucket}/{prefix}"):
                page = await client.list_objects_v2(Bucket=self.bucket, Prefix=prefix, MaxKeys=DELETE_LIMIT)
            return [entry["Key"] for entry in page.get("Contents", [])]

        while keys := await call_with_retries(call, self._session.retry_policy):
            await self._delete_some(keys)
            deleted += len(keys)
        return deleted

    async def _delete_some(self, keys: Sequence[str]) -> None:
        action = f"s3:DeleteObject s3://{self.bucket}/{keys[0]} and {len(keys) - 1} more"
        client = await self._open_client()

        async def call() -> None:
            wanted = {"Objects": [{"Key": key} for key in keys], "Quiet": True}
            with translate_errors(action):
                answer = await client.delete_objects(Bucket=self.bucket, Delete=wanted)
            for failure in answer.get("Errors", []):
                raise make_error(failure.get("Code", "?"), f"{failure.get('Message')} for {failure.get('Key')}", action)

        await call_with_retries(call, self._session.retry_policy)

    async def _open_client(self) -> Any:  # noqa: ANN401 - botocore creates client classes at run time
        async with self._opening:
            if self._client is None:
                self._client = await self._session.client("s3")
        return self._client


def _read_sha256(head: Mapping[str, Any]) -> str | None:
    """Return the hash of an object's content; for an object sent in parts, the hash in its metadata."""
    checksum: str = head.get("ChecksumSHA256", "")
    if not checksum or "-" in checksum:  # no hash, or a hash of the parts' hashes
        noted: str | None = head.get("Metadata", {}).get(SHA256)
        return noted
    return base64.b64decode(checksum).hex()


def _compute_age(written: datetime, answered: str | None) -> float:
    """Return the seconds from an object's last write to S3's response, both by S3's clock."""
    now = parsedate_to_datetime(answered) if answered else datetime.now(tz=written.tzinfo)
    return max(0.0, (now - written).total_seconds())

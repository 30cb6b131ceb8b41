"""S3 objects."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, Self

from asyncbatch.aws.errors import by_code, translated
from asyncbatch.aws.protocols import BlobAge, BlobInfo
from asyncbatch.aws.retries import Endurance, endure
from asyncbatch.aws.session import AwsSession
from asyncbatch.errors import BlobCorrupt, BlobMissing

DELETE_LIMIT: Final = 1000
"""Keys that S3 takes in one DeleteObjects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Objects:
    """The objects of one bucket."""

    bucket: str
    _client: Any = field(repr=False)
    _endurance: Endurance = field(default_factory=Endurance, repr=False)

    @classmethod
    async def open(cls, session: AwsSession, bucket: str, *, connections: int = 16) -> Self:
        """Return the objects of `bucket`, over a client of their own."""
        client = await session.client("s3", connections=connections)
        return cls(bucket=bucket, _client=client, _endurance=session.endurance)

    async def put(self, key: str, content: bytes, *, sha256: str | None = None) -> None:
        """Store `content` under `key`, over whatever was there; S3 checks and keeps `sha256` if it is given."""
        checksum = {"ChecksumSHA256": base64.b64encode(bytes.fromhex(sha256)).decode()} if sha256 else {}

        async def call() -> None:
            with translated(f"s3:PutObject s3://{self.bucket}/{key} ({len(content)} bytes)"):
                await self._client.put_object(Bucket=self.bucket, Key=key, Body=content, **checksum)

        await endure(call, self._endurance)

    async def get(self, key: str, *, sha256: str | None = None, size: int | None = None) -> bytes:
        """Return the object under `key`.

        Parameters
        ----------
        key : str
            The object's key.
        sha256 : str, optional
            What the content must hash to; it is fetched again where it does not.
        size : int, optional
            Bytes that the object must have: one of another size is not read.

        Raises
        ------
        BlobMissing
            If there is no such object.
        BlobCorrupt
            If the content is wrong however often it is fetched.
        """

        async def call() -> bytes:
            with translated(f"s3:GetObject s3://{self.bucket}/{key}"):
                response = await self._client.get_object(Bucket=self.bucket, Key=key)
                async with response["Body"] as stream:  # releases the connection, also after a body cut short
                    found = response["ContentLength"]
                    if size is not None and found != size:
                        raise BlobCorrupt(f"s3://{self.bucket}/{key} has {found} bytes, {size} expected")
                    content: bytes = await stream.read()
            if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
                raise BlobCorrupt(f"s3://{self.bucket}/{key} ({len(content)} bytes) does not have SHA-256 {sha256}")
            return content

        return await endure(call, self._endurance)

    async def age(self, key: str) -> BlobAge | None:
        """Return the age of the object under `key`, or None if there is none."""
        found = await self.describe(key)
        return None if found is None else BlobAge(seconds=found.age)

    async def describe(self, key: str) -> BlobInfo | None:
        """Return what S3 knows of the object under `key`, or None if there is none."""

        async def call() -> BlobInfo:
            with translated(f"s3:HeadObject s3://{self.bucket}/{key}"):
                head = await self._client.head_object(Bucket=self.bucket, Key=key, ChecksumMode="ENABLED")
            answered = head["ResponseMetadata"]["HTTPHeaders"].get("date")
            checksum = head.get("ChecksumSHA256")
            return BlobInfo(
                age=_seconds_between(head["LastModified"], answered),
                size=head["ContentLength"],
                sha256=base64.b64decode(checksum).hex() if checksum else None,
            )

        try:
            return await endure(call, self._endurance)
        except BlobMissing:
            return None

    async def folders(self, prefix: str) -> list[str]:
        """Return what the keys that start with `prefix` have between it and the next slash."""
        found: list[str] = []
        token: dict[str, str] = {}
        while True:
            with translated(f"s3:ListBucket s3://{self.bucket}/{prefix}"):
                page = await self._client.list_objects_v2(Bucket=self.bucket, Prefix=prefix, Delimiter="/", **token)
            found += [entry["Prefix"].removeprefix(prefix).rstrip("/") for entry in page.get("CommonPrefixes", [])]
            if not page.get("IsTruncated"):
                return found
            token = {"ContinuationToken": page["NextContinuationToken"]}

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete the objects under `keys`; absent ones do not matter."""
        for start in range(0, len(keys), DELETE_LIMIT):
            await self._delete_some(keys[start : start + DELETE_LIMIT])

    async def delete_prefix(self, prefix: str) -> int:
        """Delete all objects whose key starts with `prefix`; return how many there were."""
        deleted = 0

        async def call() -> list[str]:
            with translated(f"s3:ListBucket s3://{self.bucket}/{prefix}"):
                page = await self._client.list_objects_v2(Bucket=self.bucket, Prefix=prefix, MaxKeys=DELETE_LIMIT)
            return [entry["Key"] for entry in page.get("Contents", [])]

        while keys := await endure(call, self._endurance):
            await self._delete_some(keys)
            deleted += len(keys)
        return deleted

    async def _delete_some(self, keys: Sequence[str]) -> None:
        action = f"s3:DeleteObject s3://{self.bucket}/{keys[0]} and {len(keys) - 1} more"

        async def call() -> None:
            wanted = {"Objects": [{"Key": key} for key in keys], "Quiet": True}
            with translated(action):
                answer = await self._client.delete_objects(Bucket=self.bucket, Delete=wanted)
            for failure in answer.get("Errors", []):
                raise by_code(failure.get("Code", "?"), f"{failure.get('Message')} for {failure.get('Key')}", action)

        await endure(call, self._endurance)


def _seconds_between(written: datetime, answered: str | None) -> float:
    """Return the seconds from an object's writing to S3's answer, both by S3's clock."""
    now = parsedate_to_datetime(answered) if answered else datetime.now(tz=written.tzinfo)
    return max(0.0, (now - written).total_seconds())

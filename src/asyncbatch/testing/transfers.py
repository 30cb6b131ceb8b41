"""Transfers contents of objects to and from the bucket in memory, with the same requests as everything else."""

import base64
import hashlib
from dataclasses import dataclass, field
from typing import Any, Final, Self

from asyncbatch.aws.errors import translate_errors
from asyncbatch.aws.protocols import Content
from asyncbatch.aws.session import AwsSession
from asyncbatch.errors import BlobCorrupt

_CONNECTIONS: Final = 16


@dataclass(slots=True, kw_only=True)
class MemoryTransfers:
    """Replaces `asyncbatch.aws.transfers.Transfers`."""

    bucket: str
    _session: AwsSession = field(repr=False)
    _client: Any = field(default=None, repr=False)

    @classmethod
    def of(cls, session: AwsSession, bucket: str) -> Self:
        """Return an instance for a bucket."""
        return cls(bucket=bucket, _session=session)

    async def put(self, key: str, content: Content, *, sha256: str | None) -> None:
        """Store an object."""
        checksum = {"ChecksumSHA256": base64.b64encode(bytes.fromhex(sha256)).decode()} if sha256 else {}
        client = await self._open_client()
        with translate_errors(f"s3:PutObject s3://{self.bucket}/{key} ({len(content)} bytes)"):
            await client.put_object(Bucket=self.bucket, Key=key, Body=content, **checksum)

    async def get(self, key: str, *, sha256: str | None, size: int | None) -> bytearray:
        """Return an object; verify its `sha256` and `size` if they are not None."""
        client = await self._open_client()
        with translate_errors(f"s3:GetObject s3://{self.bucket}/{key}"):
            answer = await client.get_object(Bucket=self.bucket, Key=key)
            async with answer["Body"] as stream:
                content = bytearray(await stream.read())
        if len(content) != answer["ContentLength"]:
            raise BlobCorrupt(f"s3://{self.bucket}/{key} was truncated: {len(content)} bytes")
        if size is not None and answer["ContentLength"] != size:
            raise BlobCorrupt(f"s3://{self.bucket}/{key} has {answer['ContentLength']} bytes, {size} expected")
        if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
            raise BlobCorrupt(f"s3://{self.bucket}/{key} ({len(content)} bytes) does not have SHA-256 {sha256}")
        return content

    async def _open_client(self) -> Any:  # noqa: ANN401 - the session's type
        if self._client is None:
            self._client = await self._session.client("s3", connections=_CONNECTIONS)
        return self._client

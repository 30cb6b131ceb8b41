"""The services of `MemoryAws`, based on the models of the embedded endpoint; fields are those of botocore."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import formatdate
from types import TracebackType
from typing import Any, Final, Self

from asyncbatch.emulator.bodies import CHECKSUM_PREFIX, read_body
from asyncbatch.emulator.faults import ServiceError
from asyncbatch.emulator.objects import Bucket, ObjectHead
from asyncbatch.emulator.queues import QueueAttributes
from asyncbatch.emulator.shelf import Shelf
from asyncbatch.emulator.stack import make_outputs

Fields = Mapping[str, Any]
Answer = dict[str, Any]
Operations = dict[str, Callable[[Fields], Any]]
"""Functions by ``service:Operation``; a result may be awaitable."""

BUCKET: Final = "asyncbatch-memory"

_PAGE: Final = 1000


class Body:
    """The content of an object, as a stream that can be read once."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    async def read(self) -> bytes:
        """Return the content."""
        return self._content

    def damage(self) -> "Body":
        """Return a body of the same length with one bit flipped."""
        return Body(bytes([self._content[0] ^ 1]) + self._content[1:]) if self._content else self

    def truncate(self) -> "Body":
        """Return a body that ends too early."""
        return Body(self._content[: len(self._content) // 2])


class MemoryS3:
    """One bucket.

    Parameters
    ----------
    clock : callable
        Returns the present time, in seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.bucket = Bucket()
        self._clock = clock

    def operations(self) -> Operations:
        """Return the operations by name."""
        return {
            "s3:DeleteObjects": self._delete,
            "s3:GetObject": self._get,
            "s3:HeadObject": self._head,
            "s3:ListObjectsV2": self._list,
            "s3:PutObject": self._put,
        }

    def _put(self, fields: Fields) -> Answer:
        given = {f"{CHECKSUM_PREFIX}sha256": fields["ChecksumSHA256"]} if "ChecksumSHA256" in fields else {}
        content, checksums = read_body(given, bytes(fields["Body"]))
        self.bucket.put(self._clock(), fields["Key"], content, head=ObjectHead(checksums=checksums))
        return {}

    def _get(self, fields: Fields) -> Answer:
        stored = self.bucket.get(fields["Key"])
        return {"Body": Body(stored.content), "ContentLength": len(stored.content)}

    def _head(self, fields: Fields) -> Answer:
        stored = self.bucket.get(fields["Key"])
        sha256 = stored.head.checksums.get("sha256")
        return {
            "ContentLength": len(stored.content),
            "LastModified": datetime.fromtimestamp(int(stored.modified), UTC),
            "ResponseMetadata": {"HTTPHeaders": {"date": formatdate(self._clock(), usegmt=True)}},
            **({"ChecksumSHA256": sha256} if sha256 else {}),
        }

    def _list(self, fields: Fields) -> Answer:
        page = self.bucket.list_keys(
            prefix=fields.get("Prefix", ""),
            delimiter=fields.get("Delimiter", ""),
            after=fields.get("ContinuationToken", ""),
            most=fields.get("MaxKeys", _PAGE),
        )
        more = {} if page.after is None else {"NextContinuationToken": page.after}
        return {
            "Contents": [{"Key": key} for key in page.keys],
            "CommonPrefixes": [{"Prefix": prefix} for prefix in page.prefixes],
            "IsTruncated": page.after is not None,
            **more,
        }

    def _delete(self, fields: Fields) -> Answer:
        keys = [entry["Key"] for entry in fields["Delete"]["Objects"]]
        if not 0 < len(keys) <= _PAGE:
            raise ServiceError("MalformedXML", f"A request must have from 1 to {_PAGE} keys; this has {len(keys)}.")
        for key in keys:
            self.bucket.delete(key)
        return {}


class MemoryStacks:
    """CloudFormation, in which a stack of every name exists. All stacks share one bucket.

    Parameters
    ----------
    shelf : Shelf
        Shelf for the stacks' queues.
    """

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def operations(self) -> Operations:
        """Return the operations by name."""
        return {"cloudformation:DescribeStacks": self._describe}

    def _describe(self, fields: Fields) -> Answer:
        stack = fields["StackName"]
        tasks, results = (
            self._shelf.create(f"{stack}-{name}", QueueAttributes(), {}) for name in ("BatchInQueue", "BatchOutQueue")
        )
        outputs = make_outputs(stack, "memory", bucket=BUCKET, in_queue=tasks, out_queue=results)
        found = {
            "StackId": f"memory/{stack}",
            "StackStatus": "CREATE_COMPLETE",
            "Outputs": [{"OutputKey": key, "OutputValue": value} for key, value in outputs.items()],
        }
        return {"Stacks": [found]}

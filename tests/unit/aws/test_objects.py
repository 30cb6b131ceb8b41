"""Tests of storing an object, and of deleting many, while S3 throttles."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from asyncbatch.aws.objects import Objects
from asyncbatch.aws.retries import RetryPolicy
from asyncbatch.errors import AccessDenied, AwsBusy, QueueGone
from asyncbatch.testing import VIRTUAL

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return VIRTUAL


class Client:
    """S3 with two objects. Its first answers are errors."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.keys = ["runs/r/alive", "runs/r/manifest"]
        self._faults = list(faults)

    async def list_objects_v2(self, **_: object) -> dict[str, Any]:
        if self._faults:
            raise ClientError({"Error": {"Code": self._faults.pop(0), "Message": "no"}}, "ListObjectsV2")
        return {"Contents": [{"Key": key} for key in self.keys]}

    async def delete_objects(self, *, Delete: dict[str, Any], **_: object) -> dict[str, Any]:  # noqa: N803 - as boto3 has it
        for one in Delete["Objects"]:
            self.keys.remove(one["Key"])
        return {}


def objects_of(client: Client) -> Objects:
    nothing: Any = None
    session: Any = SimpleNamespace(retry_policy=RetryPolicy())
    return Objects(bucket="bucket", _session=session, _transfers=nothing, _client=client)


async def test_object_is_checked_before_each_attempt_to_store_it() -> None:
    attempts: list[str] = []

    async def check() -> None:
        attempts.append("check")
        if len(attempts) == 5:
            raise QueueGone("the run has ended")

    async def put(key: str, _content: object, *, sha256: str | None) -> None:
        assert sha256 is None
        attempts.append(key)
        raise AwsBusy("SlowDown")

    transfers: Any = SimpleNamespace(put=put)
    session: Any = SimpleNamespace(retry_policy=RetryPolicy())
    objects = Objects(bucket="bucket", _session=session, _transfers=transfers)
    with pytest.raises(QueueGone):
        await objects.put("key", b"content", check=check)
    assert attempts == ["check", "key", "check", "key", "check"]


async def test_prefix_is_deleted_although_listing_it_fails_at_first() -> None:
    client = Client(["SlowDown"] * 5)
    assert await objects_of(client).delete_prefix("runs/r/") == 2
    assert not client.keys


async def test_prefix_without_permission_to_list_raises_one_error() -> None:
    with pytest.raises(AccessDenied):
        await objects_of(Client(["AccessDenied"])).delete_prefix("runs/r/")

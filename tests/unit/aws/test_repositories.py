"""Tests of emptying ECR repositories, where AWS may reject the deletion of single images."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from botocore.exceptions import ClientError

from asyncbatch.aws.repositories import Repositories
from asyncbatch.errors import AccessDenied, AwsError
from asyncbatch.testing import VIRTUAL

pytestmark = pytest.mark.anyio

REFERENCED = {"failureCode": "ImageReferencedByManifestList", "failureReason": "Requested image is referenced"}


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return VIRTUAL


class Client:
    """ECR with one repository. An image can only be deleted after those that refer to it."""

    def __init__(self, images: Mapping[str, Sequence[str]], faults: Sequence[str] = ()) -> None:
        self.images = dict(images)
        self.rounds = 0
        self._faults = list(faults)

    def _enter(self, operation: str) -> None:
        if self._faults:
            raise ClientError({"Error": {"Code": self._faults.pop(0), "Message": "no"}}, operation)

    async def list_images(self, **_: object) -> dict[str, Any]:
        self._enter("ListImages")
        return {"imageIds": [{"imageDigest": name} for name in self.images]}

    async def batch_delete_image(self, *, imageIds: Sequence[Mapping[str, str]], **_: object) -> dict[str, Any]:  # noqa: N803 - as boto3 has it
        self._enter("BatchDeleteImage")
        self.rounds += 1
        assert self.rounds < 10, "does not end"
        held = {name for name, referring in self.images.items() if any(one in self.images for one in referring)}
        deleted = [one for one in imageIds if one["imageDigest"] not in held]
        for one in deleted:
            del self.images[one["imageDigest"]]
        failures = [{"imageId": {"imageDigest": name}, **REFERENCED} for name in sorted(held)]
        return {"imageIds": deleted, "failures": failures}


async def test_referenced_images_are_deleted_last() -> None:
    client = Client({"platform": ["index"], "attestation": ["index"], "index": []})
    assert await Repositories(_client=client).empty("asyncbatch") == 3
    assert not client.images


async def test_undeletable_images_raise_one_error_with_the_reason_of_aws() -> None:
    client = Client({"kept": ["kept"], "other": []})
    with pytest.raises(AwsError, match="ImageReferencedByManifestList") as caught:
        await Repositories(_client=client).empty("asyncbatch")
    assert "kept" in str(caught.value)
    assert list(client.images) == ["kept"]


async def test_throttled_deletions_are_retried() -> None:
    client = Client({"one": []}, faults=["ThrottlingException"] * 3)
    assert await Repositories(_client=client).empty("asyncbatch") == 1


async def test_missing_permission_is_not_retried() -> None:
    with pytest.raises(AccessDenied, match="ecr:ListImages asyncbatch"):
        await Repositories(_client=Client({}, faults=["AccessDeniedException"])).empty("asyncbatch")


async def test_missing_repository_is_empty() -> None:
    assert await Repositories(_client=Client({}, faults=["RepositoryNotFoundException"])).empty("asyncbatch") == 0

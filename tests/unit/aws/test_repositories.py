"""Emptying ECR repositories, which AWS may refuse image by image."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from botocore.exceptions import ClientError

from asyncbatch.aws.repositories import Repositories
from asyncbatch.errors import AccessDenied, AwsError
from tests.unit.virtual import VIRTUAL

pytestmark = pytest.mark.anyio

REFERENCED = {"failureCode": "ImageReferencedByManifestList", "failureReason": "Requested image is referenced"}


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return VIRTUAL


class Client:
    """ECR with one repository: an image goes only after those that refer to it."""

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
        assert self.rounds < 10, "goes on for ever"
        held = {name for name, referring in self.images.items() if any(one in self.images for one in referring)}
        deleted = [one for one in imageIds if one["imageDigest"] not in held]
        for one in deleted:
            del self.images[one["imageDigest"]]
        failures = [{"imageId": {"imageDigest": name}, **REFERENCED} for name in sorted(held)]
        return {"imageIds": deleted, "failures": failures}


async def test_images_that_others_refer_to_go_after_them() -> None:
    client = Client({"platform": ["index"], "attestation": ["index"], "index": []})
    assert await Repositories(_client=client).empty("asyncbatch") == 3
    assert not client.images


async def test_images_that_can_not_be_deleted_are_one_error_with_aws_s_reason() -> None:
    client = Client({"kept": ["kept"], "other": []})
    with pytest.raises(AwsError, match="ImageReferencedByManifestList") as caught:
        await Repositories(_client=client).empty("asyncbatch")
    assert "kept" in str(caught.value)
    assert list(client.images) == ["kept"]


async def test_throttling_while_a_repository_is_emptied_is_endured() -> None:
    client = Client({"one": []}, faults=["ThrottlingException"] * 3)
    assert await Repositories(_client=client).empty("asyncbatch") == 1


async def test_a_missing_right_is_reported_at_once() -> None:
    with pytest.raises(AccessDenied, match="ecr:ListImages asyncbatch"):
        await Repositories(_client=Client({}, faults=["AccessDeniedException"])).empty("asyncbatch")


async def test_a_repository_that_is_gone_holds_nothing() -> None:
    assert await Repositories(_client=Client({}, faults=["RepositoryNotFoundException"])).empty("asyncbatch") == 0

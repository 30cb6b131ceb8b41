"""ECR repositories."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Final, Self

from asyncbatch.aws.errors import translate_errors
from asyncbatch.aws.retries import RetryPolicy, call_with_retries
from asyncbatch.aws.session import AwsSession
from asyncbatch.errors import AwsError

_DELETE_LIMIT: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """The registry of a repository, with a login."""

    uri: str
    user: str
    password: str = field(repr=False)

    @property
    def host(self) -> str:
        """Host to log in to."""
        return self.uri.partition("/")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Repositories:
    """Accesses ECR repositories, identified by URI or name."""

    _client: Any = field(repr=False)
    _retry_policy: RetryPolicy = field(default_factory=RetryPolicy, repr=False)

    @classmethod
    async def open(cls, session: AwsSession) -> Self:
        """Return an instance with its own client."""
        return cls(_client=await session.client("ecr"), _retry_policy=session.retry_policy)

    async def registry(self, repository: str) -> Registry:
        """Return the registry of a repository, with a login.

        Raises
        ------
        AwsError
            If there is no such repository, or no permission to push.
        """
        name = parse_repository_name(repository)
        with translate_errors(f"ecr:DescribeRepositories {name}"):
            found = await self._client.describe_repositories(repositoryNames=[name])
        with translate_errors("ecr:GetAuthorizationToken"):
            answer = await self._client.get_authorization_token()
        token = base64.b64decode(answer["authorizationData"][0]["authorizationToken"]).decode()
        user, _, password = token.partition(":")
        return Registry(uri=found["repositories"][0]["repositoryUri"], user=user, password=password)

    async def find_push_time(self, repository: str, tag: str) -> datetime | None:
        """Return the time when the image with a tag was pushed; None if there is none.

        Raises
        ------
        AwsError
            If there is no such repository.
        """
        name = parse_repository_name(repository)
        try:
            with translate_errors(f"ecr:DescribeImages {name}:{tag}"):
                answer = await self._client.describe_images(repositoryName=name, imageIds=[{"imageTag": tag}])
        except AwsError as error:
            if error.code == "ImageNotFoundException":
                return None
            raise
        pushed: datetime = answer["imageDetails"][0]["imagePushedAt"]
        return pushed

    async def empty(self, repository: str) -> int:
        """Delete all images of a repository, and return their number; 0 if there is no such repository.

        Raises
        ------
        AwsError
            If ECR keeps some images.
        """
        name = parse_repository_name(repository)
        deleted = 0
        while images := await call_with_retries(partial(self._list, name), self._retry_policy):
            answer = await call_with_retries(partial(self._delete, name, images), self._retry_policy)
            deleted += len(answer.get("imageIds", []))
            # An image to which another refers can be deleted only after that one.
            if not answer.get("imageIds"):
                first: Mapping[str, Any] = next(iter(answer.get("failures", [])), {})
                raise AwsError(
                    f"ecr:BatchDeleteImage {name}: {len(images)} images can't be deleted, the first: "
                    f"{_describe(first.get('imageId', {}))}: {first.get('failureReason')} ({first.get('failureCode')})"
                )
        return deleted

    async def _list(self, name: str) -> list[Mapping[str, str]]:
        """Return the ids of some images; empty if there are none."""
        try:
            with translate_errors(f"ecr:ListImages {name}"):
                answer = await self._client.list_images(repositoryName=name, maxResults=_DELETE_LIMIT)
        except AwsError as error:
            if error.code == "RepositoryNotFoundException":
                return []
            raise
        found: list[Mapping[str, str]] = answer.get("imageIds", [])
        return found

    async def _delete(self, name: str, images: Sequence[Mapping[str, str]]) -> Mapping[str, Any]:
        with translate_errors(f"ecr:BatchDeleteImage {name}"):
            answer: Mapping[str, Any] = await self._client.batch_delete_image(repositoryName=name, imageIds=images)
        return answer


def _describe(image: Mapping[str, str]) -> str:
    return image.get("imageTag") or image.get("imageDigest") or "unknown"


def parse_repository_name(repository: str) -> str:
    """Return the name of a repository, given its name or URI."""
    host, _, name = repository.partition("/")
    return name if ".dkr.ecr." in host else repository

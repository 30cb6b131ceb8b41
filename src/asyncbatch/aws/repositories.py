"""ECR repositories."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Final, Self

from asyncbatch.aws.errors import translated
from asyncbatch.aws.retries import Endurance, endure
from asyncbatch.aws.session import AwsSession
from asyncbatch.errors import AwsError

_DELETE_LIMIT: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """Where images of a repository are pushed."""

    uri: str
    user: str
    password: str = field(repr=False)

    @property
    def host(self) -> str:
        """Where to log in."""
        return self.uri.partition("/")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Repositories:
    """ECR repositories, by their URIs or names, through one client."""

    _client: Any = field(repr=False)
    _endurance: Endurance = field(default_factory=Endurance, repr=False)

    @classmethod
    async def open(cls, session: AwsSession) -> Self:
        """Return repositories over a client of their own."""
        return cls(_client=await session.client("ecr"), _endurance=session.endurance)

    async def registry(self, repository: str) -> Registry:
        """Return where a repository is, and how to log in there.

        Raises
        ------
        AwsError
            If there is no such repository, or no right to push.
        """
        name = named_by(repository)
        with translated(f"ecr:DescribeRepositories {name}"):
            found = await self._client.describe_repositories(repositoryNames=[name])
        with translated("ecr:GetAuthorizationToken"):
            answer = await self._client.get_authorization_token()
        token = base64.b64decode(answer["authorizationData"][0]["authorizationToken"]).decode()
        user, _, password = token.partition(":")
        return Registry(uri=found["repositories"][0]["repositoryUri"], user=user, password=password)

    async def pushed(self, repository: str, tag: str) -> datetime | None:
        """Return when the image of a tag was pushed; None if there is none.

        Raises
        ------
        AwsError
            If there is no such repository.
        """
        name = named_by(repository)
        try:
            with translated(f"ecr:DescribeImages {name}:{tag}"):
                answer = await self._client.describe_images(repositoryName=name, imageIds=[{"imageTag": tag}])
        except AwsError as error:
            if error.code == "ImageNotFoundException":
                return None
            raise
        pushed: datetime = answer["imageDetails"][0]["imagePushedAt"]
        return pushed

    async def empty(self, repository: str) -> int:
        """Delete all images of a repository, and return how many there were; none where there is no repository.

        Raises
        ------
        AwsError
            If ECR keeps some of them.
        """
        name = named_by(repository)
        deleted = 0
        while images := await endure(partial(self._list, name), self._endurance):
            answer = await endure(partial(self._delete, name, images), self._endurance)
            deleted += len(answer.get("imageIds", []))
            # An image that another refers to goes in the round after that one's.
            if not answer.get("imageIds"):
                first: Mapping[str, Any] = next(iter(answer.get("failures", [])), {})
                raise AwsError(
                    f"ecr:BatchDeleteImage {name}: {len(images)} images can't be deleted, the first is "
                    f"{_describe(first.get('imageId', {}))}: {first.get('failureReason')} ({first.get('failureCode')})"
                )
        return deleted

    async def _list(self, name: str) -> list[Mapping[str, str]]:
        """Return the ids of some images, none if there are none."""
        try:
            with translated(f"ecr:ListImages {name}"):
                answer = await self._client.list_images(repositoryName=name, maxResults=_DELETE_LIMIT)
        except AwsError as error:
            if error.code == "RepositoryNotFoundException":
                return []
            raise
        found: list[Mapping[str, str]] = answer.get("imageIds", [])
        return found

    async def _delete(self, name: str, images: Sequence[Mapping[str, str]]) -> Mapping[str, Any]:
        with translated(f"ecr:BatchDeleteImage {name}"):
            answer: Mapping[str, Any] = await self._client.batch_delete_image(repositoryName=name, imageIds=images)
        return answer


def _describe(image: Mapping[str, str]) -> str:
    return image.get("imageTag") or image.get("imageDigest") or "unknown"


def named_by(repository: str) -> str:
    """Return the name of a repository, given that or its URI."""
    host, _, name = repository.partition("/")
    return name if ".dkr.ecr." in host else repository

"""Log streams of CloudWatch."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

from asyncbatch.aws.errors import translated
from asyncbatch.aws.session import AwsSession
from asyncbatch.errors import AwsError

BATCH_GROUP: Final = "/aws/batch/job"
"""Where Batch writes unless a job definition says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogStreams:
    """Log streams through one client."""

    groups: Sequence[str]
    """Log groups that a stream may be in."""
    _client: Any = field(repr=False)

    @classmethod
    async def open(cls, session: AwsSession, *, groups: Sequence[str]) -> Self:
        """Return log streams over a client of their own."""
        return cls(groups=groups, _client=await session.client("logs"))

    async def tail(self, stream: str, lines: int) -> list[str]:
        """Return the last lines of a stream; none where it is not there, or may not be read.

        Logs only explain: what they can't tell must not hide what is to be explained.
        """
        for group in self.groups:
            try:
                with translated(f"logs:GetLogEvents {group} {stream}"):
                    answer = await self._client.get_log_events(
                        logGroupName=group, logStreamName=stream, limit=lines, startFromHead=False
                    )
            except AwsError:
                continue
            return [event["message"].rstrip() for event in answer["events"]][-lines:]
        return []

    async def since(self, stream: str, token: str = "") -> tuple[list[str], str]:
        """Return the lines of a stream from `token` on, the first by default, and the token from which to go on.

        Raises
        ------
        AwsError
            If none of the groups has the stream, or it may not be read.
        """
        problem: AwsError | None = None
        for group in self.groups:
            try:
                return await self._since(group, stream, token)
            except AwsError as error:
                if problem is None or "ResourceNotFoundException" not in str(error):
                    problem = error
        raise problem or AwsError(f"no log group to look for {stream} in")

    async def _since(self, group: str, stream: str, token: str) -> tuple[list[str], str]:
        lines: list[str] = []
        while True:
            wanted = {"logGroupName": group, "logStreamName": stream, "startFromHead": True}
            with translated(f"logs:GetLogEvents {group} {stream}"):
                answer = await self._client.get_log_events(**wanted | ({"nextToken": token} if token else {}))
            lines += [event["message"].rstrip() for event in answer["events"]]
            before, token = token, answer["nextForwardToken"]
            if token == before:  # CloudWatch's way to say that there is no more: a page may be empty before that
                return lines, token

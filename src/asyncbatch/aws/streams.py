"""Reads log streams of CloudWatch, within AWS's rate limit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

import anyio

from asyncbatch.aws.errors import translate_errors
from asyncbatch.aws.retries import RetryPolicy, call_with_retries
from asyncbatch.aws.session import AwsSession
from asyncbatch.errors import AwsError

BATCH_GROUP: Final = "/aws/batch/job"
"""Batch's default log group."""


_REQUESTS_PER_SECOND: Final = 8.0
"""Below the limit of 10 per account in most regions, which can't be raised, and which others use too."""

_STREAMS_PER_SEARCH: Final = 100


@dataclass(slots=True, kw_only=True)
class Pace:
    """Limits the rate of requests."""

    rate: float
    """Requests per second."""
    _next: float = 0.0

    async def wait(self) -> None:
        """Wait until the next request may be sent."""
        now = anyio.current_time()
        turn = max(now, self._next)
        self._next = turn + 1.0 / self.rate
        await anyio.sleep(turn - now)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogStreams:
    """Reads log streams."""

    groups: Sequence[str]
    """Log groups that a stream may be in."""
    _client: Any = field(repr=False)
    _retry_policy: RetryPolicy = field(default_factory=RetryPolicy, repr=False)
    _pace: Pace = field(default_factory=lambda: Pace(rate=_REQUESTS_PER_SECOND))

    @classmethod
    async def open(cls, session: AwsSession, *, groups: Sequence[str]) -> Self:
        """Return an instance with its own client."""
        return cls(groups=groups, _client=await session.client("logs"), _retry_policy=session.retry_policy)

    async def tail(self, stream: str, lines: int) -> list[str]:
        """Return the last lines of a stream; empty if it does not exist or can't be read.

        Errors are ignored, since the lines only explain another error, which must not be hidden.
        """
        for group in self.groups:
            try:
                with translate_errors(f"logs:GetLogEvents {group} {stream}"):
                    answer = await self._client.get_log_events(
                        logGroupName=group, logStreamName=stream, limit=lines, startFromHead=False
                    )
            except AwsError:
                continue
            return [event["message"].rstrip() for event in answer["events"]][-lines:]
        return []

    async def read_since(self, stream: str, token: str = "") -> tuple[list[str], str]:
        """Return the lines of a stream from `token` on, by default all, and the token for the next call.

        Raises
        ------
        AwsError
            If none of the groups has the stream, or it can't be read.
        """
        problem: AwsError | None = None
        for group in self.groups:
            try:
                return await self._read_since(group, stream, token)
            except AwsError as error:
                if problem is None or error.code != "ResourceNotFoundException":
                    problem = error
        raise problem or AwsError(f"no log group for stream {stream}")

    async def find(self, streams: Sequence[str], phrase: str) -> set[str]:
        """Return the streams that contain a phrase, and those that can't be searched.

        One request searches 100 streams; reading them would take 200 requests.
        """
        found: set[str] = set()
        for start in range(0, len(streams), _STREAMS_PER_SEARCH):
            part = streams[start : start + _STREAMS_PER_SEARCH]
            searched = False
            for group in self.groups:
                try:
                    found |= await self._find(group, part, phrase)
                except AwsError:  # a stream has no lines yet or is in another group, or searching is not allowed
                    continue
                searched = True
            if not searched:
                found |= set(part)
        return found

    async def _find(self, group: str, streams: Sequence[str], phrase: str) -> set[str]:
        wanted: dict[str, Any] = {
            "logGroupName": group,
            "logStreamNames": list(streams),
            "filterPattern": f'"{phrase}"',
        }
        found: set[str] = set()
        while True:
            answer = await self._ask("FilterLogEvents", f"{group} {phrase}", wanted)
            found |= {event["logStreamName"] for event in answer["events"]}
            if not answer.get("nextToken"):  # a page may be empty even if there are more
                return found
            wanted["nextToken"] = answer["nextToken"]

    async def _read_since(self, group: str, stream: str, token: str) -> tuple[list[str], str]:
        lines: list[str] = []
        while True:
            wanted: dict[str, Any] = {"logGroupName": group, "logStreamName": stream, "startFromHead": True}
            if token:
                wanted["nextToken"] = token
            answer = await self._ask("GetLogEvents", f"{group} {stream}", wanted)
            lines += [event["message"].rstrip() for event in answer["events"]]
            before, token = token, answer["nextForwardToken"]
            if (
                token == before
            ):  # the same token again means that there are no more lines; a page may be empty before that
                return lines, token

    async def _ask(self, operation: str, what: str, wanted: Mapping[str, Any]) -> Mapping[str, Any]:
        """Send a request, within the rate limit and with retries, and return the response."""
        calls = {"GetLogEvents": self._client.get_log_events, "FilterLogEvents": self._client.filter_log_events}

        async def call() -> Mapping[str, Any]:
            await self._pace.wait()
            with translate_errors(f"logs:{operation} {what}"):
                answer: Mapping[str, Any] = await calls[operation](**wanted)
            return answer

        return await call_with_retries(call, self._retry_policy)

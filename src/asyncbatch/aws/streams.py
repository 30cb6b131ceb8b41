"""Log streams of CloudWatch, whose reading AWS allows few requests a second."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

import anyio

from asyncbatch.aws.errors import translated
from asyncbatch.aws.retries import Endurance, endure
from asyncbatch.aws.session import AwsSession
from asyncbatch.errors import AwsError

BATCH_GROUP: Final = "/aws/batch/job"
"""Where Batch writes unless a job definition says otherwise."""


_REQUESTS_PER_SECOND: Final = 8.0
"""Below the 10 that an account has in most regions: nobody can raise them, and others read logs too."""

_STREAMS_PER_SEARCH: Final = 100


@dataclass(slots=True, kw_only=True)
class Pace:
    """Spaces requests evenly."""

    rate: float
    """Requests a second."""
    _next: float = 0.0

    async def wait(self) -> None:
        """Return when the next request may be sent."""
        now = anyio.current_time()
        turn = max(now, self._next)
        self._next = turn + 1.0 / self.rate
        await anyio.sleep(turn - now)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogStreams:
    """Log streams through one client."""

    groups: Sequence[str]
    """Log groups that a stream may be in."""
    _client: Any = field(repr=False)
    _endurance: Endurance = field(default_factory=Endurance, repr=False)
    _pace: Pace = field(default_factory=lambda: Pace(rate=_REQUESTS_PER_SECOND))

    @classmethod
    async def open(cls, session: AwsSession, *, groups: Sequence[str]) -> Self:
        """Return log streams over a client of their own."""
        return cls(groups=groups, _client=await session.client("logs"), _endurance=session.endurance)

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
                if problem is None or error.code != "ResourceNotFoundException":
                    problem = error
        raise problem or AwsError(f"no log group to look for {stream} in")

    async def find(self, streams: Sequence[str], phrase: str) -> set[str]:
        """Return those of some streams that hold a phrase, and those that can't be searched.

        One request searches 100 streams, where reading them takes 200.
        """
        found: set[str] = set()
        for start in range(0, len(streams), _STREAMS_PER_SEARCH):
            part = streams[start : start + _STREAMS_PER_SEARCH]
            searched = False
            for group in self.groups:
                try:
                    found |= await self._find(group, part, phrase)
                except AwsError:  # one stream has no line yet, or is in another group, or searching is not allowed
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
            if not answer.get("nextToken"):  # a page may be empty although there are more
                return found
            wanted["nextToken"] = answer["nextToken"]

    async def _since(self, group: str, stream: str, token: str) -> tuple[list[str], str]:
        lines: list[str] = []
        while True:
            wanted: dict[str, Any] = {"logGroupName": group, "logStreamName": stream, "startFromHead": True}
            if token:
                wanted["nextToken"] = token
            answer = await self._ask("GetLogEvents", f"{group} {stream}", wanted)
            lines += [event["message"].rstrip() for event in answer["events"]]
            before, token = token, answer["nextForwardToken"]
            if token == before:  # CloudWatch's way to say that there is no more: a page may be empty before that
                return lines, token

    async def _ask(self, operation: str, what: str, wanted: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the answer to a request, sent in its turn, through throttling and passing outages."""
        calls = {"GetLogEvents": self._client.get_log_events, "FilterLogEvents": self._client.filter_log_events}

        async def call() -> Mapping[str, Any]:
            await self._pace.wait()
            with translated(f"logs:{operation} {what}"):
                answer: Mapping[str, Any] = await calls[operation](**wanted)
            return answer

        return await endure(call, self._endurance)

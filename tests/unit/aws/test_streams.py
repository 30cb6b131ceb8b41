"""Tests of reading the logs of many workers in virtual time, at a limited rate and with throttling."""

from collections.abc import Sequence
from typing import Any

import anyio
import pytest
from botocore.exceptions import ClientError

from asyncbatch.aws.streams import LogStreams
from asyncbatch.errors import AwsError
from asyncbatch.testing import VIRTUAL

pytestmark = pytest.mark.anyio

MANY = 1_000


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return VIRTUAL


def refusal(code: str, operation: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, operation)


class Client:
    """CloudWatch Logs with one group, whose streams have a line for each tile. It throttles requests.

    A group `empty` finds nothing in any stream, since some services do not report a missing stream.
    """

    def __init__(self, *, streams: int = MANY, per_second: float = 10.0, faults: Sequence[str] = ()) -> None:
        self.lines = {f"s{place}": [f"action=tile_begun tile={place}", "of it"] for place in range(streams)}
        self.times: list[float] = []
        self.calls: list[str] = []
        self._per_second = per_second
        self._faults = list(faults)

    def _enter(self, operation: str, group: str, streams: Sequence[str]) -> None:
        now = anyio.current_time()
        self.calls.append(operation)
        if self._faults:
            raise refusal(self._faults.pop(0), operation)
        if sum(now - time < 1.0 for time in self.times) >= self._per_second:
            raise refusal("ThrottlingException", operation)
        self.times.append(now)
        if group not in {"group", "empty"} or not self.lines.keys() >= set(streams):
            raise refusal("ResourceNotFoundException", operation)

    async def get_log_events(
        self,
        *,
        logGroupName: str,  # noqa: N803 - as boto3 has it
        logStreamName: str,  # noqa: N803 - as above
        nextToken: str = "",  # noqa: N803 - as above
        **_: Any,  # noqa: ANN401 - as above
    ) -> dict[str, Any]:
        self._enter("get", logGroupName, [logStreamName])
        lines = [] if nextToken else self.lines[logStreamName]
        return {"events": [{"message": line} for line in lines], "nextForwardToken": "end"}

    async def filter_log_events(
        self,
        *,
        logGroupName: str,  # noqa: N803 - as above
        logStreamNames: list[str],  # noqa: N803 - as above
        filterPattern: str,  # noqa: N803 - as above
        nextToken: str = "",  # noqa: N803 - as above
    ) -> dict[str, Any]:
        self._enter("filter", logGroupName, logStreamNames)
        assert len(logStreamNames) <= 100
        if not nextToken:
            return {"events": [], "nextToken": "more"}  # CloudWatch may answer this while it searches
        if logGroupName == "empty":
            return {"events": []}
        phrase = filterPattern.strip('"')
        return {
            "events": [
                {"logStreamName": name, "message": line}
                for name in logStreamNames
                for line in self.lines[name]
                if phrase in line
            ]
        }


def opened(client: Client, *groups: str) -> LogStreams:
    return LogStreams(groups=groups or ("group",), _client=client)


async def test_logs_of_a_thousand_workers_are_read_within_the_rate_limit() -> None:
    client = Client()
    streams = opened(client)
    for name, lines in client.lines.items():
        assert (await streams.read_since(name))[0] == lines
    assert len(client.calls) == len(client.times) == 2 * MANY  # none was throttled
    assert client.times[-1] - client.times[0] == pytest.approx(2 * MANY / 8, rel=0.01)


@pytest.mark.parametrize("fault", ["ThrottlingException", "ServiceUnavailableException", "LimitExceededException"])
async def test_throttling_by_requests_of_others_is_retried(fault: str) -> None:
    streams = opened(Client(streams=3, faults=[fault] * 5))
    assert (await streams.read_since("s2"))[0] == ["action=tile_begun tile=2", "of it"]


async def test_tile_is_found_without_reading_all_streams() -> None:
    client = Client()
    found = await opened(client).find(list(client.lines), "action=tile_begun tile=997")
    assert found == {"s997"}
    assert client.calls == ["filter"] * 20  # ten searches of 100 streams, two pages each


async def test_tile_is_found_in_the_second_group() -> None:
    client = Client(streams=50)
    assert await opened(client, "other", "group").find(list(client.lines), "action=tile_begun tile=7") == {"s7"}


@pytest.mark.parametrize("groups", [("empty", "group"), ("group", "empty"), ("empty", "other", "group")])
async def test_tile_is_found_in_any_group_if_others_find_nothing(groups: tuple[str, ...]) -> None:
    client = Client(streams=50)
    assert await opened(client, *groups).find(list(client.lines), "action=tile_begun tile=7") == {"s7"}


async def test_missing_tile_is_not_found() -> None:
    client = Client(streams=50)
    assert await opened(client, "empty", "group").find(list(client.lines), "action=tile_begun tile=77") == set()


@pytest.mark.parametrize("code", ["AccessDeniedException", "ResourceNotFoundException"])
async def test_all_streams_are_read_if_they_can_not_be_searched(code: str) -> None:
    client = Client(streams=150, faults=[code])
    found = await opened(client).find([*client.lines], "action=tile_begun tile=120")
    assert found == {f"s{place}" for place in range(100)} | {"s120"}


async def test_missing_stream_is_not_an_outage() -> None:
    client = Client(streams=1)
    with pytest.raises(AwsError, match="ResourceNotFoundException"):
        await opened(client).read_since("nobody")
    assert len(client.calls) == 1

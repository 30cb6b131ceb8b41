"""Tests of log streams with several pages."""

import time
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from asyncbatch.aws.session import open_session
from asyncbatch.aws.streams import BATCH_GROUP, LogStreams
from asyncbatch.errors import AwsError
from tests.integration.endpoint import Endpoint

pytestmark = pytest.mark.anyio

REGION = "ap-southeast-2"
MANY = 12_000  # a page has at most 10,000


@pytest.fixture
def logs(account: Endpoint) -> Iterator[Any]:
    client = boto3.client("logs", endpoint_url=account.local.settings.endpoint_url, region_name=REGION)
    client.create_log_group(logGroupName=BATCH_GROUP)
    yield client
    client.delete_log_group(logGroupName=BATCH_GROUP)
    client.close()


def written(logs: Any, stream: str, first: int, count: int) -> None:  # noqa: ANN401 - boto3's clients have no type
    now = int(time.time() * 1000)
    events = [{"timestamp": now + place, "message": f"line {place}"} for place in range(first, first + count)]
    logs.put_log_events(logGroupName=BATCH_GROUP, logStreamName=stream, logEvents=events)


async def test_all_lines_are_read_and_then_only_new_ones(account: Endpoint, logs: Any) -> None:  # noqa: ANN401 - as above
    logs.create_log_stream(logGroupName=BATCH_GROUP, logStreamName="worker")
    for first in range(0, MANY, 4000):
        written(logs, "worker", first, 4000)
    local = account.local
    async with open_session(
        region=REGION, endpoint_url=local.settings.endpoint_url, credentials=local.credentials
    ) as session:
        streams = await LogStreams.open(session, groups=["/asyncbatch/RIOS", BATCH_GROUP])
        lines, token = await streams.read_since("worker")
        assert lines == [f"line {place}" for place in range(MANY)]
        assert (await streams.read_since("worker", token)) == ([], token)
        written(logs, "worker", MANY, 3)
        lines, _ = await streams.read_since("worker", token)
        assert lines == [f"line {MANY + place}" for place in range(3)]
        assert await streams.tail("worker", 2) == [f"line {MANY + 1}", f"line {MANY + 2}"]
        with pytest.raises(AwsError, match="GetLogEvents /asyncbatch/RIOS nobody"):
            await streams.read_since("nobody")
        assert await streams.tail("nobody", 2) == []

"""Tests of access to the embedded endpoint, and of its end."""

import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.exceptions import ClientError

from asyncbatch import Settings
from asyncbatch.emulator.names import COUNTS_PATH, write_scope
from asyncbatch.local import open_local_endpoint
from tests.integration.conftest import Script
from tests.integration.endpoint import Endpoint
from tests.integration.eventually import eventually
from tests.integration.team import MARK, Team, processes
from tests.integration.wire import Wire

Ask = Callable[[Any], object]


@pytest.fixture
def wire(endpoint: Endpoint) -> Iterator[Wire]:
    with Wire(endpoint.local) as wire:
        yield wire


@pytest.fixture
def stranger(endpoint: Endpoint) -> Iterator[Callable[[str], Any]]:
    """Return a function that creates clients with another access key."""
    made = []

    def client(service: str) -> Any:  # noqa: ANN401 - boto3 creates clients at run time
        settings = endpoint.local.settings
        keys = {"aws_access_key_id": "local", "aws_secret_access_key": "local"}
        made.append(boto3.client(service, endpoint_url=settings.endpoint_url, region_name=settings.region, **keys))
        return made[-1]

    yield client
    for each in made:
        each.close()


@pytest.mark.parametrize(
    ("service", "ask", "code"),
    [
        ("s3", lambda s3: s3.list_buckets(), "InvalidAccessKeyId"),
        ("s3", lambda s3: s3.put_object(Bucket="rios-batchbucket", Key="key", Body=b"forged"), "InvalidAccessKeyId"),
        ("sqs", lambda sqs: sqs.list_queues(), "InvalidClientTokenId"),
        ("cloudformation", lambda cloudformation: cloudformation.describe_stacks(), "InvalidClientTokenId"),
        ("sts", lambda sts: sts.get_caller_identity(), "InvalidClientTokenId"),
        ("batch", lambda batch: batch.list_jobs(jobQueue="queue"), "InvalidClientTokenId"),
    ],
)
def test_another_access_key_is_rejected(
    endpoint: Endpoint, stranger: Callable[[str], Any], service: str, ask: Ask, code: str
) -> None:
    before = endpoint.local.requests()
    with pytest.raises(ClientError) as caught:
        ask(stranger(service))
    assert caught.value.response["Error"]["Code"] == code
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    assert endpoint.local.requests() == before
    assert endpoint.keys("key") == []


@pytest.mark.parametrize("path", ["/", COUNTS_PATH, "/rios-batchbucket", "/rios-batchbucket/runs/x/manifest"])
@pytest.mark.parametrize(
    "authorization", [None, "Basic dGVzdHM6dGVzdHM=", write_scope("", "r", "s3"), write_scope("test", "r", "s3")]
)
def test_request_without_access_key_is_rejected(wire: Wire, path: str, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    status, _, _ = wire.ask("GET", path, headers=headers)
    assert status == 403


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "127.0.0.1x", "", "::1"])
def test_request_for_another_host_is_rejected(wire: Wire, host: str) -> None:
    for path in ("/rios-batchbucket?list-type=2", COUNTS_PATH):
        status, _, _ = wire.ask("GET", path, headers={"Host": host, **wire.headers("s3")})
        assert status == 403


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:1", "localhost", "LOCALHOST:80", "[::1]:80"])
def test_request_for_this_machine_is_answered(wire: Wire, host: str) -> None:
    status, _, _ = wire.ask("GET", "/rios-batchbucket?list-type=2", headers={"Host": host, **wire.headers("s3")})
    assert status == 200


def test_pages_of_other_origins_can_not_read_answers(wire: Wire) -> None:
    origin = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    preflight, headers, _ = wire.ask("OPTIONS", "/", headers=origin)
    assert preflight == 403
    status, more, _ = wire.ask("GET", "/rios-batchbucket?list-type=2", headers=origin | wire.headers("s3"))
    assert status == 200
    assert not [name for name in headers | more if name.startswith("access-control")]


def test_endpoint_only_listens_on_loopback(endpoint: Endpoint) -> None:
    port = urlsplit(str(endpoint.local.settings.endpoint_url)).port
    tables = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
    rows = [line.split() for line in tables.splitlines() if ":" in line.split()[1]]
    listening = [row[1] for row in rows if row[3] == "0A" and row[1].endswith(f":{port:04X}")]
    assert listening == [f"0100007F:{port:04X}"]


def read_command_line(process: int) -> str:
    return Path(f"/proc/{process}/cmdline").read_text()


@pytest.mark.anyio
async def test_each_endpoint_has_its_own_hidden_key(monkeypatch: pytest.MonkeyPatch, team: Team) -> None:
    monkeypatch.setenv(MARK, team.mark)
    async with open_local_endpoint(Settings()) as one, open_local_endpoint(Settings()) as other:
        assert one.credentials.access_key != other.credentials.access_key
        assert len(one.credentials.access_key) == 32
        found = processes(team.mark, "asyncbatch.emulator")
        assert len(found) == 2
        for command in map(read_command_line, found):
            assert one.credentials.access_key not in command
            assert other.credentials.access_key not in command


FORKING = """
import os
import signal
import anyio
from asyncbatch import Settings
from asyncbatch.local import open_local_endpoint

async def main():
    async with open_local_endpoint(Settings()):
        child = os.fork()
        if child == 0:
            signal.pause()
        print(child, flush=True)
        await anyio.sleep_forever()

anyio.run(main)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_endpoint_ends_with_main_even_if_a_fork_of_main_lives(script: Script, team: Team, number: int) -> None:
    main = script(FORKING)
    assert main.stdout is not None
    child = int(main.stdout.readline())
    try:
        assert len(processes(team.mark, "asyncbatch.emulator")) == 1
        main.send_signal(number)
        eventually(lambda: not processes(team.mark, "asyncbatch.emulator"))
        os.kill(child, 0)
    finally:
        os.kill(child, signal.SIGKILL)


def test_incomplete_body_is_not_stored(endpoint: Endpoint) -> None:
    target = urlsplit(str(endpoint.local.settings.endpoint_url))
    scope = write_scope(endpoint.local.credentials.access_key, "r", "s3")
    head = (
        f"PUT /{endpoint.bucket}/cut HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {scope}\r\nContent-Length: 9\r\n\r\n"
    )
    with socket.create_connection((str(target.hostname), int(target.port or 0))) as connection:
        connection.sendall(head.encode() + b"cut")
    assert endpoint.keys("cut") == []


def test_unknown_operations_get_errors_in_the_format_of_the_service(endpoint: Endpoint, wire: Wire) -> None:
    unknown: list[tuple[str, Ask, str]] = [
        ("s3", lambda s3: s3.get_bucket_policy(Bucket=endpoint.bucket), "NotImplemented"),
        (
            "sqs",
            lambda sqs: sqs.list_message_move_tasks(SourceArn="arn"),
            "AWS.SimpleQueueService.UnsupportedOperation",
        ),
        ("cloudformation", lambda cloudformation: cloudformation.delete_stack(StackName="RIOS"), "InvalidAction"),
        ("batch", lambda batch: batch.submit_job(jobName="j", jobQueue="q", jobDefinition="d"), "ClientException"),
        ("logs", lambda logs: logs.describe_log_groups(), "InvalidAction"),
    ]
    for service, ask, code in unknown:
        settings = endpoint.local.settings
        client = boto3.client(service, endpoint_url=settings.endpoint_url, region_name=settings.region)
        with pytest.raises(ClientError) as caught:
            ask(client)
        assert caught.value.response["Error"]["Code"] == code
        client.close()
    status, _, body = wire.ask("GET", COUNTS_PATH, headers=wire.headers("asyncbatch"))
    assert status == 200
    assert json.loads(body)["batch:submitjob"] >= 1

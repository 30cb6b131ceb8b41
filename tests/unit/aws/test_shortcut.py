import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from botocore import auth
from botocore.awsrequest import AWSPreparedRequest, AWSRequest
from botocore.credentials import ReadOnlyCredentials

from asyncbatch.aws.session import Signing
from asyncbatch.aws.shortcut import Shortcut, sign_headers

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC)
HEADERS = {
    "X-Amz-Target": "AmazonSQS.SendMessageBatch",
    "Content-Type": "application/x-amz-json-1.0",
    "User-Agent": "asyncbatch",
}


def sign_by_sdk(url: str, body: bytes, credentials: ReadOnlyCredentials, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the SDK's signature at `NOW`."""
    monkeypatch.setattr(auth, "get_current_datetime", lambda: NOW.replace(tzinfo=None))
    request = AWSRequest("POST", url, headers=HEADERS, data=body)
    auth.SigV4Auth(credentials, "sqs", "us-east-1").add_auth(request)
    return str(request.headers["Authorization"])


@pytest.mark.parametrize("token", [None, "a/session+token=="])
@pytest.mark.parametrize("url", ["https://sqs.us-east-1.amazonaws.com/", "http://127.0.0.1:4566", "http://h:1/queue/q"])
@pytest.mark.parametrize("body", [b"", '{"QueueUrl": "é"}'.encode()])
def test_signatures_are_those_of_the_sdk(
    url: str, token: str | None, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = ReadOnlyCredentials("AKIA", "secret", token)
    headers = sign_headers(HEADERS, body, url=url, credentials=credentials, scope=("us-east-1", "sqs"), now=NOW)
    assert headers["Authorization"] == sign_by_sdk(url, body, credentials, monkeypatch)
    assert headers.get("X-Amz-Security-Token") == token
    assert headers.items() >= HEADERS.items()


@dataclass(kw_only=True)
class Session:
    """Has credentials, and counts requests."""

    requests: Counter[str] = field(default_factory=Counter)

    async def sign(self) -> Signing:
        return Signing(credentials=ReadOnlyCredentials("AKIA", "secret", None), refusals=0)

    def count(self, operation: str, context: dict[str, Any]) -> None:
        context["counted"] = True
        self.requests[operation] += 1


@dataclass(frozen=True, kw_only=True)
class Response:
    """A response as the SDK's connections return it."""

    status_code: int
    text: bytes

    @property
    async def content(self) -> bytes:
        return self.text


async def call(status: int, content: bytes, *, version: str = "v4") -> tuple[Session, Any]:
    """Call the shortcut with a service that gives one response; return the session and the result."""

    async def send(_: AWSPreparedRequest) -> object:
        return Response(status_code=status, text=content)

    session = Session()
    result = await Shortcut(session=session, send=send).call(  # type: ignore[arg-type]  # all that it needs
        model=SimpleNamespace(name="SendMessageBatch"),
        params={"url": "http://127.0.0.1:1", "method": "POST", "headers": HEADERS, "body": b"{}"},
        request_signer=SimpleNamespace(signature_version=version, region_name="us-east-1", signing_name="sqs"),
        context={},
    )
    return session, result


async def test_a_success_is_returned_and_counted() -> None:
    session, result = await call(200, json.dumps({"Successful": []}).encode())
    assert result[1] == {"Successful": []}
    assert session.requests == {"sqs:SendMessageBatch": 1}


async def test_a_response_may_be_empty() -> None:
    assert (await call(200, b""))[1][1] == {}


@pytest.mark.parametrize(("status", "content"), [(400, b"{}"), (503, b""), (200, b"<html>a proxy</html>")])
async def test_the_sdk_repeats_what_does_not_succeed(status: int, content: bytes) -> None:
    assert (await call(status, content))[1] is None


async def test_the_sdk_signs_in_other_ways() -> None:
    session, result = await call(200, b"{}", version="v4a")
    assert result is None
    assert not session.requests

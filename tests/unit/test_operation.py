"""What the embedded endpoint counts."""

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pytest

from asyncbatch.local import COUNTS_PATH, EndpointApp, operation

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment


def asked(service: str | None, method: str, *, query: str = "", target: str = "", path: str = "/") -> dict[str, Any]:
    environ: dict[str, Any] = {"REQUEST_METHOD": method, "QUERY_STRING": query, "PATH_INFO": path}
    if service:
        scope = f"Credential=local/20260102/us-east-1/{service}/aws4_request"
        environ["HTTP_AUTHORIZATION"] = f"AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0"
    if target:
        environ["HTTP_X_AMZ_TARGET"] = target
    return environ


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        (asked("s3", "PUT"), "s3:PutObject"),
        (asked("s3", "GET"), "s3:GetObject"),
        (asked("s3", "HEAD"), "s3:HeadObject"),
        (asked("s3", "DELETE"), "s3:DeleteObject"),
        (asked("s3", "POST", query="delete"), "s3:DeleteObjects"),
        (asked("s3", "GET", query="list-type=2&prefix=runs%2F"), "s3:ListObjectsV2"),
        (asked("sqs", "POST", target="AmazonSQS.SendMessageBatch"), "sqs:SendMessageBatch"),
        (asked("sqs", "POST", target="AmazonSQS.ReceiveMessage"), "sqs:ReceiveMessage"),
        (asked("cloudformation", "POST"), "cloudformation:POST"),
        (asked("batch", "POST"), "batch:POST"),
        (asked(None, "GET"), "unknown:GET"),
    ],
)
def test_a_request_is_named_after_its_operation(environ: dict[str, Any], name: str) -> None:
    assert operation(environ) == name


def served(app: EndpointApp, environ: dict[str, Any]) -> bytes:
    return b"".join(app(environ, lambda *_: lambda _: None))


def test_requests_are_counted_and_handed_on() -> None:
    made = []

    def make(service: str) -> "WSGIApplication":
        made.append(service)

        def answer(_: "WSGIEnvironment", __: "StartResponse") -> Iterable[bytes]:
            return [service.encode()]

        return answer

    app = EndpointApp(make)
    assert served(app, asked("s3", "PUT")) == b"s3"
    assert served(app, asked("s3", "PUT")) == b"s3"
    assert served(app, asked("sqs", "POST", target="AmazonSQS.SendMessage")) == b"sqs"
    assert made == ["s3", "sqs"], "each service is made once"
    wanted = {"s3:PutObject": 2, "sqs:SendMessage": 1}
    assert json.loads(served(app, asked(None, "GET", path=COUNTS_PATH))) == wanted
    assert json.loads(served(app, asked(None, "GET", path=COUNTS_PATH))) == wanted, "to ask is not counted"

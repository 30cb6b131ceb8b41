"""Tests of obstore's configuration for a bucket, and of the translation of its errors."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from asyncbatch import errors
from asyncbatch.aws.session import AwsSession, open_session
from asyncbatch.aws.stores import StorePlan, read_code, translate_store_error

pytestmark = pytest.mark.anyio

ANSWER = "Generic S3 error: Error performing PUT https://host/key in 3ms - Server returned non-2xx status code: {}: {}"
BODY = "<?xml version='1.0'?><Error><Code>{}</Code><Message>some words</Message></Error>"
DETAILS = '\n\nDebug source:\nGeneric {{ status: 500, message: "{}" }}'


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))


@pytest.fixture
async def session() -> AsyncIterator[AwsSession]:
    async with open_session(region="eu-west-1", endpoint_url=None) as session:
        yield session


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        ("400 Bad Request", "ExpiredToken", errors.CredentialsMissing),
        ("400 Bad Request", "", errors.CredentialsMissing),
        ("403 Forbidden", "InvalidAccessKeyId", errors.CredentialsMissing),
        ("403 Forbidden", "AccessDenied", errors.AccessDenied),
        ("403 Forbidden", "", errors.AccessDenied),
        ("404 Not Found", "NoSuchKey", errors.BlobMissing),
        ("404 Not Found", "", errors.BlobMissing),
        ("404 Not Found", "NoSuchBucket", errors.AwsError),
        ("416 Range Not Satisfiable", "InvalidRange", errors.BlobCorrupt),
        ("429 Too Many Requests", "", errors.AwsBusy),
        ("500 Internal Server Error", "InternalError", errors.AwsBusy),
        ("503 Service Unavailable", "SlowDown", errors.AwsBusy),
        ("503 Service Unavailable", "", errors.AwsBusy),
    ],
)
def test_errors_are_translated_by_code_or_else_by_status(status: str, code: str, kind: type[errors.AwsError]) -> None:
    text = ANSWER.format(status, BODY.format(code) if code else "") + DETAILS.format("other")
    assert type(translate_store_error(text, "s3:PutObject s3://b/k")) is kind
    assert read_code(text) == (code or status[:3])


@pytest.mark.parametrize(
    "text",
    [
        "Generic S3 error: Error performing GET http://host/key in 1ms - HTTP error: error sending request",
        "Generic S3 error: Unable to extract metadata from headers: ETag Header missing from response",
        "Generic S3 error: Error performing GET http://host/key in 1ms - Received redirect without LOCATION, this",
    ],
    ids=["no answer", "not S3", "elsewhere"],
)
def test_answers_that_are_not_from_s3_are_unreachable_endpoints(text: str) -> None:
    error = translate_store_error(text + DETAILS.format("Connection refused"), "s3:GetObject s3://b/k")
    assert type(error) is errors.EndpointUnreachable
    assert read_code(text) == ""


@pytest.mark.parametrize(
    ("bucket", "endpoint", "hosted"),
    [
        ("plain", "https://plain.s3.eu-west-1.amazonaws.com", True),
        ("dots.in.it", "https://s3.eu-west-1.amazonaws.com", False),
    ],
)
async def test_aws_is_called_by_the_bucket_s_host_if_a_certificate_matches(
    session: AwsSession, bucket: str, endpoint: str, *, hosted: bool
) -> None:
    plan = StorePlan.of(session, bucket)
    assert (plan.config["endpoint"], plan.config["virtual_hosted_style_request"]) == (endpoint, hosted)
    assert not plan.client["allow_http"]
    assert "proxy_url" not in plan.client


async def test_other_endpoints_are_called_by_path(session: AwsSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://minio.example:9000/")
    plan = StorePlan.of(session, "plain")
    assert plan.config["endpoint"] == "https://minio.example:9000"
    assert not plan.config["virtual_hosted_style_request"]


async def test_certificates_of_the_user_are_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(b"certificates")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(bundle))
    async with open_session(region="eu-west-1", endpoint_url=None) as session:
        assert StorePlan.of(session, "plain").client["root_certificate"] == b"certificates"
        bundle.unlink()
        with pytest.raises(errors.AwsError, match="AWS_CA_BUNDLE"):
            StorePlan.of(session, "plain")

"""Tests of S3 on the embedded endpoint by boto3."""

import base64
import hashlib
import io
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from typing import Any
from uuid import uuid4

import boto3
import pytest
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.integration.endpoint import Endpoint

CONTENT = bytes(range(256)) * 2000


@pytest.fixture
def key() -> str:
    return f"wire/{uuid4().hex}/with space+%2F&<>\"'~é"


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(ClientError) as caught:
        call()
    return str(caught.value.response["Error"]["Code"])


@pytest.fixture(params=["when_required", "when_supported"])
def s3(endpoint: Endpoint, request: pytest.FixtureRequest) -> Iterator[Any]:
    """Return a client without or with its own checksums."""
    config = Config(request_checksum_calculation=request.param, response_checksum_validation=request.param)
    settings = endpoint.local.settings
    client = boto3.client("s3", endpoint_url=settings.endpoint_url, region_name=settings.region, config=config)
    yield client
    client.close()


@pytest.mark.parametrize("body", [CONTENT, b"", io.BytesIO(CONTENT)], ids=["bytes", "nothing", "a file"])
def test_objects_are_stored_with_their_metadata(s3: Any, endpoint: Endpoint, key: str, body: Any) -> None:  # noqa: ANN401 - of several kinds
    content = body if isinstance(body, bytes) else CONTENT
    if not isinstance(body, bytes):
        body.seek(0)
    named = {"Bucket": endpoint.bucket, "Key": key}
    put = s3.put_object(**named, Body=body, Metadata={"Tile": "7"}, ContentType="text/plain; charset=utf-8")
    got = s3.get_object(**named)
    assert got["Body"].read() == content
    head = s3.head_object(**named)
    for answer in (got, head):
        assert answer["ContentLength"] == len(content)
        assert answer["ETag"] == put["ETag"]
        assert answer["Metadata"] == {"tile": "7"}
        assert answer["ContentType"] == "text/plain; charset=utf-8"
    dated = parsedate_to_datetime(head["ResponseMetadata"]["HTTPHeaders"]["date"])
    assert 0 <= (dated - head["LastModified"]).total_seconds() < 60
    assert endpoint.keys(key) == [key]
    s3.delete_object(**named)
    s3.delete_object(**named)
    assert code_of(lambda: s3.get_object(**named)) == "NoSuchKey"
    assert code_of(lambda: s3.head_object(**named)) == "404"


def test_sha256_is_verified_stored_and_returned_on_request(endpoint: Endpoint, key: str) -> None:
    named = {"Bucket": endpoint.bucket, "Key": key}
    digest = base64.b64encode(hashlib.sha256(CONTENT).digest()).decode()
    settings, once = endpoint.local.settings, Config(retries={"total_max_attempts": 1})
    s3 = boto3.client("s3", endpoint_url=settings.endpoint_url, region_name=settings.region, config=once)
    assert code_of(lambda: s3.put_object(**named, Body=b"other", ChecksumSHA256=digest)) == "BadDigest"
    s3.close()
    endpoint.s3.put_object(**named, Body=CONTENT, ChecksumSHA256=digest)
    assert endpoint.s3.head_object(**named, ChecksumMode="ENABLED")["ChecksumSHA256"] == digest
    got = endpoint.s3.get_object(**named, ChecksumMode="ENABLED")
    assert got["ChecksumSHA256"] == digest
    assert got["Body"].read() == CONTENT


def test_conditional_put_does_not_replace_an_object(endpoint: Endpoint, key: str) -> None:
    named = {"Bucket": endpoint.bucket, "Key": key}
    endpoint.s3.put_object(**named, Body=b"first", IfNoneMatch="*")
    assert code_of(lambda: endpoint.s3.put_object(**named, Body=b"second", IfNoneMatch="*")) == "PreconditionFailed"
    assert endpoint.s3.get_object(**named)["Body"].read() == b"first"


def test_ranges_return_parts_of_an_object(endpoint: Endpoint, key: str) -> None:
    named = {"Bucket": endpoint.bucket, "Key": key}
    endpoint.s3.put_object(**named, Body=CONTENT)
    for asked, wanted in (("bytes=10-19", CONTENT[10:20]), ("bytes=-5", CONTENT[-5:]), ("bytes=500-", CONTENT[500:])):
        got = endpoint.s3.get_object(**named, Range=asked)
        assert got["Body"].read() == wanted
        assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
        assert got["ContentRange"].endswith(f"/{len(CONTENT)}")
    assert code_of(lambda: endpoint.s3.get_object(**named, Range=f"bytes={len(CONTENT)}-")) == "InvalidRange"


def test_keys_are_listed_page_by_page_and_in_folders(endpoint: Endpoint, key: str) -> None:
    keys = sorted(f"{key}/{name}" for name in ("a/1", "a/2", "b", "c/1", "d <&>", "é"))
    for one in keys:
        endpoint.s3.put_object(Bucket=endpoint.bucket, Key=one, Body=b"")
    pages = endpoint.s3.get_paginator("list_objects_v2").paginate(
        Bucket=endpoint.bucket, Prefix=key, PaginationConfig={"PageSize": 2}
    )
    assert [entry["Key"] for page in pages for entry in page.get("Contents", [])] == keys
    page = endpoint.s3.list_objects_v2(Bucket=endpoint.bucket, Prefix=f"{key}/", Delimiter="/")
    assert [entry["Prefix"] for entry in page["CommonPrefixes"]] == [f"{key}/a/", f"{key}/c/"]
    assert [entry["Key"] for entry in page["Contents"]] == [keys[2], *keys[4:]]
    assert (page["IsTruncated"], page["KeyCount"]) == (False, 5)
    listed = {"Objects": [{"Key": one} for one in (*keys, f"{key}/absent")]}
    answer = endpoint.s3.delete_objects(Bucket=endpoint.bucket, Delete=listed)
    assert [one["Key"] for one in answer["Deleted"]] == [*keys, f"{key}/absent"]
    assert endpoint.keys(key) == []


def test_large_objects_are_uploaded_in_parts(s3: Any, endpoint: Endpoint, key: str) -> None:  # noqa: ANN401 - boto3's clients have no type
    content = CONTENT * 25
    parts = TransferConfig(multipart_threshold=5 * 2**20, multipart_chunksize=5 * 2**20)
    s3.upload_fileobj(io.BytesIO(content), endpoint.bucket, key, Config=parts)
    got = io.BytesIO()
    s3.download_fileobj(endpoint.bucket, key, got, Config=parts)
    assert got.getvalue() == content
    upload = s3.create_multipart_upload(Bucket=endpoint.bucket, Key=key)["UploadId"]
    named = {"Bucket": endpoint.bucket, "Key": key, "UploadId": upload}
    s3.upload_part(**named, PartNumber=1, Body=b"part")
    s3.abort_multipart_upload(**named)
    assert code_of(lambda: s3.upload_part(**named, PartNumber=1, Body=b"part")) == "NoSuchUpload"


def test_buckets_are_created_and_deleted(endpoint: Endpoint) -> None:
    s3, bucket = endpoint.s3, f"bucket-{uuid4().hex}"
    assert code_of(lambda: s3.put_object(Bucket=bucket, Key="key", Body=b"")) == "NoSuchBucket"
    assert code_of(lambda: s3.head_bucket(Bucket=bucket)) == "404"
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "ap-southeast-2"})
    s3.head_bucket(Bucket=bucket)
    assert {endpoint.bucket, bucket} <= {one["Name"] for one in s3.list_buckets()["Buckets"]}
    s3.put_object(Bucket=bucket, Key="key", Body=b"")
    assert code_of(lambda: s3.delete_bucket(Bucket=bucket)) == "BucketNotEmpty"
    s3.delete_object(Bucket=bucket, Key="key")
    s3.delete_bucket(Bucket=bucket)
    assert code_of(lambda: s3.copy_object(Bucket=endpoint.bucket, Key="a", CopySource="b/c")) == "NotImplemented"

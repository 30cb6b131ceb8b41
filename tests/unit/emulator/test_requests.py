"""Tests of the names of requests, and of the access keys in their signatures."""

import pytest

from asyncbatch.emulator.names import write_scope
from asyncbatch.emulator.requests import Request, Scope, name_operation, read_scope


def asked(
    service: str, method: str, path: str = "/", *, query: str = "", target: str = "", body: bytes = b""
) -> Request:
    return Request(
        method=method,
        path=path,
        query=dict(one.split("=") for one in query.split("&")) if query else {},
        headers={"X-Amz-Target": target} if target else {},
        scope=Scope(access_key="key", region="us-east-1", service=service),
        body=body,
    )


@pytest.mark.parametrize(
    ("request_", "name"),
    [
        (asked("s3", "PUT", "/bucket/a/key"), "s3:PutObject"),
        (asked("s3", "GET", "/bucket/a/key"), "s3:GetObject"),
        (asked("s3", "HEAD", "/bucket/a/key"), "s3:HeadObject"),
        (asked("s3", "DELETE", "/bucket/a/key"), "s3:DeleteObject"),
        (asked("s3", "POST", "/bucket", query="delete="), "s3:DeleteObjects"),
        (asked("s3", "GET", "/bucket", query="list-type=2&prefix=runs"), "s3:ListObjectsV2"),
        (asked("s3", "GET", "/"), "s3:ListBuckets"),
        (asked("s3", "PUT", "/bucket"), "s3:CreateBucket"),
        (asked("s3", "HEAD", "/bucket/"), "s3:HeadBucket"),
        (asked("s3", "POST", "/bucket/key", query="uploads="), "s3:CreateMultipartUpload"),
        (asked("s3", "PUT", "/bucket/key", query="partNumber=1&uploadId=2"), "s3:UploadPart"),
        (asked("s3", "POST", "/bucket/key", query="uploadId=2"), "s3:CompleteMultipartUpload"),
        (asked("s3", "DELETE", "/bucket/key", query="uploadId=2"), "s3:AbortMultipartUpload"),
        (asked("sqs", "POST", target="AmazonSQS.SendMessageBatch"), "sqs:SendMessageBatch"),
        (asked("sqs", "POST", target="AmazonSQS.ReceiveMessage"), "sqs:ReceiveMessage"),
        (asked("cloudformation", "POST", body=b"Action=DescribeStacks&Version=1"), "cloudformation:DescribeStacks"),
        (asked("sts", "POST", body=b"Version=1&Action=GetCallerIdentity"), "sts:GetCallerIdentity"),
        (asked("batch", "POST", "/v1/listjobs"), "batch:listjobs"),
        (asked("moon", "GET"), "moon:GET"),
    ],
)
def test_a_request_is_named_after_its_operation(request_: Request, name: str) -> None:
    assert name_operation(request_) == name


def test_the_scope_of_a_signature_is_read() -> None:
    header = f"{write_scope('key', 'us-east-1', 's3')}, SignedHeaders=host, Signature=0"
    assert read_scope({"Authorization": header}) == Scope(access_key="key", region="us-east-1", service="s3")


@pytest.mark.parametrize("header", ["", "Basic bG9jYWw6bG9jYWw=", "AWS4-HMAC-SHA256 Credential=key/20260101"])
def test_unsigned_request_has_no_scope(header: str) -> None:
    assert read_scope({"Authorization": header}) is None

"""Requests and responses of the services."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

_SCOPE: Final = re.compile(r"Credential=([^/,\s]+)/[^/]*/([^/]*)/([^/]+)/aws4_request")
_ACTION: Final = re.compile(rb"(?:^|&)Action=(\w+)")
_S3_OBJECT: Final = {"PUT": "PutObject", "GET": "GetObject", "HEAD": "HeadObject", "DELETE": "DeleteObject"}
_S3_BUCKET: Final = {"PUT": "CreateBucket", "GET": "ListObjects", "HEAD": "HeadBucket", "DELETE": "DeleteBucket"}
_S3_UPLOAD: Final = {
    "PUT": "UploadPart",
    "GET": "ListParts",
    "POST": "CompleteMultipartUpload",
    "DELETE": "AbortMultipartUpload",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """The access key, region and service in the signature of a request."""

    access_key: str = field(repr=False)
    region: str
    service: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A complete request."""

    method: str
    path: str
    """Decoded."""
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """Names are case-insensitive."""
    scope: Scope
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A service's response."""

    status: int = 200
    body: bytes = field(default=b"", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/xml"


def read_scope(headers: Mapping[str, str]) -> Scope | None:
    """Return the scope of a request's signature; None if it has no signature."""
    found = _SCOPE.search(headers.get("Authorization", ""))
    return Scope(access_key=found[1], region=found[2], service=found[3]) if found else None


def name_operation(request: Request) -> str:
    """Return the service and the operation of a request, as ``service:Operation``."""
    service = request.scope.service
    if service == "s3":
        return f"s3:{_name_s3(request)}"
    if target := request.headers.get("X-Amz-Target", ""):
        return f"{service}:{target.rpartition('.')[2]}"
    if action := _ACTION.search(request.body):
        return f"{service}:{action[1].decode()}"
    return f"{service}:{request.path.rpartition('/')[2] or request.method}"


def _name_s3(request: Request) -> str:
    method, query = request.method, request.query
    bucket, _, key = request.path.lstrip("/").partition("/")
    if not bucket:
        return "ListBuckets"
    if not key:
        if "list-type" in query:
            return "ListObjectsV2"
        return "DeleteObjects" if method == "POST" and "delete" in query else _S3_BUCKET.get(method, method)
    if "uploadId" in query:
        return _S3_UPLOAD.get(method, method)
    if method == "POST" and "uploads" in query:
        return "CreateMultipartUpload"
    return _S3_OBJECT.get(method, method)

"""S3 over its wire protocol: REST with XML, buckets in the path."""

import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Final
from urllib.parse import quote, unquote

from asyncbatch.emulator.bodies import CHECKSUM_PREFIX, read_body
from asyncbatch.emulator.faults import ServiceError
from asyncbatch.emulator.objects import Bucket, ObjectHead, StoredObject, read_range
from asyncbatch.emulator.requests import Answer, Request
from asyncbatch.emulator.xml import Element, read_xml, write_xml

_NAMESPACE: Final = "http://s3.amazonaws.com/doc/2006-03-01/"
_META: Final = "x-amz-meta-"
_PAGE: Final = 1000


class S3:
    """The buckets of one account.

    Parameters
    ----------
    clock : callable
        Returns the present time, in seconds since the epoch.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._buckets: dict[str, tuple[Bucket, float]] = {}
        self._operations: dict[str, Callable[[Request], Answer]] = {
            "AbortMultipartUpload": self._abort_upload,
            "CompleteMultipartUpload": self._complete_upload,
            "CreateBucket": self._create_bucket,
            "CreateMultipartUpload": self._create_upload,
            "DeleteBucket": self._delete_bucket,
            "DeleteObject": self._delete_object,
            "DeleteObjects": self._delete_objects,
            "GetObject": self._get_object,
            "HeadBucket": self._head_bucket,
            "HeadObject": self._get_object,
            "ListBuckets": self._list_buckets,
            "ListObjectsV2": self._list_objects,
            "PutObject": self._put_object,
            "UploadPart": self._put_part,
        }

    def create(self, name: str) -> None:
        """Create a bucket if it does not exist."""
        self._buckets.setdefault(name, (Bucket(), self._clock()))

    def answer(self, request: Request, operation: str) -> Answer:
        """Answer a request for an operation.

        Raises
        ------
        ServiceError
            If it is rejected.
        """
        if operation not in self._operations or "x-amz-copy-source" in request.headers:
            raise ServiceError(
                "NotImplemented", f"The embedded endpoint does not support this request for s3:{operation}.", status=501
            )
        return self._operations[operation](request)

    def _create_bucket(self, request: Request) -> Answer:
        name, _ = _split(request)
        self.create(name)
        return Answer(headers={"Location": f"/{name}"})

    def _delete_bucket(self, request: Request) -> Answer:
        name, _ = _split(request)
        if not self._find(name).is_empty():
            raise ServiceError("BucketNotEmpty", "The bucket you tried to delete is not empty", status=409)
        del self._buckets[name]
        return Answer(status=204)

    def _head_bucket(self, request: Request) -> Answer:
        self._find(_split(request)[0])
        return Answer()

    def _list_buckets(self, _request: Request) -> Answer:
        found = [{"Name": name, "CreationDate": _write_time(made)} for name, (_, made) in self._buckets.items()]
        return _answer("ListAllMyBucketsResult", {"Buckets": {"Bucket": found}})

    def _put_object(self, request: Request) -> Answer:
        name, key = _split(request)
        bucket = self._find(name)
        content, checksums = read_body(request.headers, request.body)
        head = _read_head(request.headers, checksums)
        stored = bucket.put(self._clock(), key, content, head=head, if_absent=_must_be_absent(request))
        return Answer(headers={"ETag": f'"{stored.etag}"', **_write_checksums(stored)})

    def _get_object(self, request: Request) -> Answer:
        """Handle a GET or a HEAD; the server omits the body for a HEAD."""
        name, key = _split(request)
        stored = self._find(name).get(key)
        now = formatdate(self._clock(), usegmt=True)
        headers = {
            "Accept-Ranges": "bytes",
            "Date": now,  # from the same clock as the next header
            "Last-Modified": formatdate(stored.modified, usegmt=True),
            "ETag": f'"{stored.etag}"',
            **{f"{_META}{one}": value for one, value in stored.head.metadata.items()},
        }
        size = len(stored.content)
        chosen = read_range(request.headers["Range"], size) if "Range" in request.headers else None
        if chosen is not None:
            start, end = chosen
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
            body = stored.content[start:end]
            return Answer(status=206, body=body, headers=headers, content_type=stored.head.content_type)
        if request.headers.get("x-amz-checksum-mode", "").upper() == "ENABLED":
            headers |= _write_checksums(stored)
        return Answer(body=stored.content, headers=headers, content_type=stored.head.content_type)

    def _delete_object(self, request: Request) -> Answer:
        name, key = _split(request)
        self._find(name).delete(key)
        return Answer(status=204)

    def _delete_objects(self, request: Request) -> Answer:
        bucket = self._find(_split(request)[0])
        body, _ = read_body(request.headers, request.body)
        root = read_xml(body)
        keys = [element.findtext("Key", "") for element in root.findall("Object")]
        if not 0 < len(keys) <= _PAGE:
            raise ServiceError(
                "MalformedXML", f"A request must have from 1 to {_PAGE} keys; this request has {len(keys)}."
            )
        for key in keys:
            bucket.delete(key)
        quiet = root.findtext("Quiet", "").strip().lower() == "true"
        return _answer("DeleteResult", {} if quiet else {"Deleted": [{"Key": key} for key in keys]})

    def _list_objects(self, request: Request) -> Answer:
        name, _ = _split(request)
        bucket, query = self._find(name), request.query
        encode: Callable[[str], str] = (lambda text: quote(text, safe="/")) if "encoding-type" in query else str
        most = query.get("max-keys", str(_PAGE))
        if not (most.isascii() and most.isdecimal()):
            raise ServiceError("InvalidArgument", f"max-keys is {most!r}; it must be an integer")
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        after = unquote(query.get("continuation-token", "")) or query.get("start-after", "")
        page = bucket.list_keys(prefix=prefix, delimiter=delimiter, after=after, most=min(int(most), _PAGE))
        content: dict[str, Element | list[Element]] = {
            "Name": name,
            "Prefix": encode(prefix),
            "KeyCount": len(page.keys) + len(page.prefixes),
            "MaxKeys": most,
            "IsTruncated": page.after is not None,
            "Contents": [_write_entry(encode(key), bucket.get(key)) for key in page.keys],
            "CommonPrefixes": [{"Prefix": encode(one)} for one in page.prefixes],
        }
        if delimiter:
            content["Delimiter"] = encode(delimiter)
        if page.after is not None:
            content["NextContinuationToken"] = quote(page.after)
        if "encoding-type" in query:
            content["EncodingType"] = "url"
        return _answer("ListBucketResult", content)

    def _create_upload(self, request: Request) -> Answer:
        name, key = _split(request)
        upload = secrets.token_hex(16)
        self._find(name).create_upload(upload, key, head=_read_head(request.headers, {}))
        return _answer("InitiateMultipartUploadResult", {"Bucket": name, "Key": key, "UploadId": upload})

    def _put_part(self, request: Request) -> Answer:
        name, key = _split(request)
        number = request.query.get("partNumber", "")
        if not (number.isascii() and number.isdecimal() and 1 <= int(number) <= 10_000):  # noqa: PLR2004 - as S3 has it
            raise ServiceError("InvalidArgument", "Part number must be an integer between 1 and 10000, inclusive")
        content, checksums = read_body(request.headers, request.body)
        part = self._find(name).put_part(self._clock(), request.query["uploadId"], key, int(number), content)
        sent = {f"{CHECKSUM_PREFIX}{algorithm}": value for algorithm, value in checksums.items()}
        return Answer(headers={"ETag": f'"{part.etag}"', **sent})

    def _complete_upload(self, request: Request) -> Answer:
        name, key = _split(request)
        chosen = []
        for part in read_xml(request.body).findall("Part"):
            number = part.findtext("PartNumber", "")
            if not (number.isascii() and number.isdecimal()):
                raise ServiceError("MalformedXML", f"PartNumber is {number!r}; it must be an integer.")
            chosen.append((int(number), part.findtext("ETag", "")))
        stored = self._find(name).complete_upload(
            self._clock(), request.query["uploadId"], key, chosen, if_absent=_must_be_absent(request)
        )
        made: dict[str, Element] = {"Location": f"/{name}/{key}", "Bucket": name, "Key": key}
        return _answer("CompleteMultipartUploadResult", {**made, "ETag": f'"{stored.etag}"'})

    def _abort_upload(self, request: Request) -> Answer:
        name, key = _split(request)
        self._find(name).abort_upload(request.query["uploadId"], key)
        return Answer(status=204)

    def _find(self, name: str) -> Bucket:
        if name not in self._buckets:
            raise ServiceError("NoSuchBucket", f"The specified bucket does not exist: {name[:100]}", status=404)
        return self._buckets[name][0]


def write_error(error: ServiceError) -> Answer:
    """Format an error for S3's clients."""
    body = write_xml("Error", {"Code": error.code, "Message": error.message, "RequestId": "0"})
    return Answer(status=error.status, body=body)


def _split(request: Request) -> tuple[str, str]:
    """Return the bucket and the key in a path."""
    name, _, key = request.path.removeprefix("/").partition("/")
    return name, key


def _must_be_absent(request: Request) -> bool:
    if "If-Match" in request.headers:
        raise ServiceError("NotImplemented", "The embedded endpoint does not support If-Match.", status=501)
    return request.headers.get("If-None-Match") == "*"


def _read_head(headers: Mapping[str, str], checksums: Mapping[str, str]) -> ObjectHead:
    metadata = {
        name.lower().removeprefix(_META): value for name, value in headers.items() if name.lower().startswith(_META)
    }
    content_type = headers.get("Content-Type") or "binary/octet-stream"
    return ObjectHead(content_type=content_type, metadata=metadata, checksums=checksums)


def _write_checksums(stored: StoredObject) -> dict[str, str]:
    return {f"{CHECKSUM_PREFIX}{algorithm}": value for algorithm, value in stored.head.checksums.items()}


def _write_entry(key: str, stored: StoredObject) -> Element:
    modified = _write_time(stored.modified)
    return {"Key": key, "LastModified": modified, "ETag": f'"{stored.etag}"', "Size": len(stored.content)}


def _write_time(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _answer(name: str, content: Mapping[str, Element | list[Element]]) -> Answer:
    return Answer(body=write_xml(name, content, namespace=_NAMESPACE))

"""Request bodies of S3's clients, in AWS's chunked encoding and with checksums."""

import base64
import binascii
import hashlib
import zlib
from collections.abc import Callable, Mapping
from typing import Final

from asyncbatch.emulator.faults import ServiceError

CHECKSUM_PREFIX: Final = "x-amz-checksum-"

_CHECKSUMS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "crc32": lambda content: zlib.crc32(content).to_bytes(4, "big"),
    "sha1": lambda content: hashlib.sha1(content, usedforsecurity=False).digest(),
    "sha256": lambda content: hashlib.sha256(content).digest(),
}
"""Checksums that are verified and stored; Python can't compute S3's others, crc32c and crc64nvme."""


def read_body(headers: Mapping[str, str], body: bytes) -> tuple[bytes, dict[str, str]]:
    """Return the content that a request carries, and its checksums by algorithm.

    Parameters
    ----------
    headers : mapping
        The request's headers.
    body : bytes
        The body as it was sent.

    Raises
    ------
    ServiceError
        If the body is truncated, or its checksum does not match.
    """
    content = body
    trailers: dict[str, str] = {}
    if "aws-chunked" in headers.get("Content-Encoding", "") or "x-amz-decoded-content-length" in headers:
        content, trailers = _decode_chunks(body)
        if len(content) != int(headers.get("x-amz-decoded-content-length", len(content))):
            raise ServiceError("IncompleteBody", "The body does not have the length that its header names.")
    given = {name.lower(): value for name, value in headers.items()} | trailers
    checksums = {}
    for algorithm, compute in _CHECKSUMS.items():
        wanted = given.get(f"{CHECKSUM_PREFIX}{algorithm}")
        if wanted is None:
            continue
        if base64.b64encode(compute(content)).decode() != wanted:
            reason = f"The {algorithm.upper()} you specified did not match the calculated checksum."
            raise ServiceError("BadDigest", reason)
        checksums[algorithm] = wanted
    digest = given.get("content-md5")
    if digest is not None and not _is_md5(content, digest):
        raise ServiceError("BadDigest", "The Content-MD5 you specified did not match what we received.")
    return content, checksums


def _is_md5(content: bytes, digest: str) -> bool:
    try:
        return base64.b64decode(digest) == hashlib.md5(content, usedforsecurity=False).digest()
    except binascii.Error:
        return False


def _decode_chunks(body: bytes) -> tuple[bytes, dict[str, str]]:
    """Decode a body in AWS's chunked encoding; return its content and the headers that follow it."""
    parts, place = [], 0
    while True:
        end = body.find(b"\r\n", place)
        try:
            size = int(body[place:end].partition(b";")[0], 16)
        except ValueError:
            size = -1
        start = end + 2
        if end < 0 or size < 0 or start + size > len(body):
            raise ServiceError("IncompleteBody", "The body's chunks are truncated.")
        place = start + size
        if size == 0:
            break
        parts.append(body[start:place])
        place += 2  # the line's end after it
    lines = body[place:].decode("latin-1").split("\r\n")
    trailers = dict(line.split(":", 1) for line in lines if ":" in line)
    return b"".join(parts), {name.strip().lower(): value.strip() for name, value in trailers.items()}

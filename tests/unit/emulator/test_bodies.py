"""Tests of bodies in AWS's chunked format, and of their checksums."""

import base64
import hashlib
import zlib

import pytest

from asyncbatch.emulator.bodies import read_body
from asyncbatch.emulator.faults import ServiceError

CONTENT = b"a tile's result"
SHA256 = base64.b64encode(hashlib.sha256(CONTENT).digest()).decode()
CRC32 = base64.b64encode(zlib.crc32(CONTENT).to_bytes(4, "big")).decode()
CHUNKED = {"Content-Encoding": "aws-chunked", "x-amz-decoded-content-length": str(len(CONTENT))}


def chunked(*chunks: bytes, trailer: str = "") -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(one), one) for one in (*chunks,)) + f"0\r\n{trailer}\r\n".encode()


def test_plain_body_is_unchanged() -> None:
    assert read_body({}, CONTENT) == (CONTENT, {})


@pytest.mark.parametrize(("algorithm", "value"), [("sha256", SHA256), ("crc32", CRC32)])
def test_checksum_is_verified_and_stored(algorithm: str, value: str) -> None:
    header = {f"X-Amz-Checksum-{algorithm}": value}
    assert read_body(header, CONTENT) == (CONTENT, {algorithm: value})
    with pytest.raises(ServiceError, match="BadDigest"):
        read_body(header, CONTENT[:-1])


def test_a_wrong_md5_is_rejected() -> None:
    right = base64.b64encode(hashlib.md5(CONTENT, usedforsecurity=False).digest()).decode()
    assert read_body({"Content-MD5": right}, CONTENT) == (CONTENT, {})
    for wrong in (SHA256, "?"):
        with pytest.raises(ServiceError, match="BadDigest"):
            read_body({"Content-MD5": wrong}, CONTENT)


@pytest.mark.parametrize("signature", [b"", b";chunk-signature=00"])
def test_chunks_are_joined(signature: bytes) -> None:
    body = chunked(CONTENT[:5], CONTENT[5:]).replace(b"5\r\n", b"5" + signature + b"\r\n", 1)
    assert read_body(CHUNKED, body) == (CONTENT, {})


def test_checksum_can_follow_the_chunks() -> None:
    body = chunked(CONTENT, trailer=f"x-amz-checksum-crc32:{CRC32}\r\n")
    assert read_body(CHUNKED, body) == (CONTENT, {"crc32": CRC32})


@pytest.mark.parametrize("end", range(len(chunked(CONTENT)) - 4))
def test_incomplete_chunks_are_rejected(end: int) -> None:
    with pytest.raises(ServiceError, match="IncompleteBody"):
        read_body(CHUNKED, chunked(CONTENT)[:end])

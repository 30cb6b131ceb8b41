"""A model of an S3 bucket. It does no I/O, and the time is passed in."""

import bisect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from asyncbatch.emulator.faults import ServiceError

PART_MINIMUM: Final = 5 * 2**20
"""Minimum size in bytes of each part of an upload except the last."""

KEY_LIMIT: Final = 1024
"""Maximum size of a key in bytes."""

_RANGE: Final = re.compile(r"bytes=(\d*)-(\d*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectHead:
    """Metadata of an object."""

    content_type: str = "binary/octet-stream"
    metadata: Mapping[str, str] = field(default_factory=dict)
    """The user's metadata, by names without ``x-amz-meta-``."""
    checksums: Mapping[str, str] = field(default_factory=dict)
    """Checksums as sent, by algorithm, such as ``sha256``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """An object in a bucket."""

    content: bytes = field(repr=False)
    etag: str
    modified: float
    head: ObjectHead


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """One page of a bucket's keys."""

    keys: list[str]
    prefixes: list[str]
    """Common prefixes up to the delimiter, which replace their keys."""
    after: str | None
    """Start of the next page; None if this is the last."""


@dataclass(slots=True, kw_only=True)
class _Upload:
    key: str
    head: ObjectHead
    parts: dict[int, StoredObject] = field(default_factory=dict)


class Bucket:
    """The objects of a bucket, by key. ETags are opaque: they differ between any two writes."""

    def __init__(self) -> None:
        self._objects: dict[str, StoredObject] = {}
        self._keys: list[str] = []  # sorted
        self._uploads: dict[str, _Upload] = {}
        self._writes = 0

    def put(
        self, now: float, key: str, content: bytes, *, head: ObjectHead | None = None, if_absent: bool = False
    ) -> StoredObject:
        """Store an object.

        Raises
        ------
        ServiceError
            If the key is too long, or an object exists and `if_absent` is set.
        """
        if len(key.encode("utf-8", "surrogatepass")) > KEY_LIMIT:
            raise ServiceError("KeyTooLongError", "Your key is too long")
        if key in self._objects and if_absent:
            reason = "At least one of the pre-conditions you specified did not hold"
            raise ServiceError("PreconditionFailed", reason, status=412)
        if key not in self._objects:
            bisect.insort(self._keys, key)
        stored = self._make(now, content, head or ObjectHead())
        self._objects[key] = stored
        return stored

    def get(self, key: str) -> StoredObject:
        """Return an object.

        Raises
        ------
        ServiceError
            If there is none.
        """
        if key not in self._objects:
            raise ServiceError("NoSuchKey", "The specified key does not exist.", status=404)
        return self._objects[key]

    def delete(self, key: str) -> None:
        """Delete an object, if there is one."""
        if self._objects.pop(key, None) is not None:
            del self._keys[bisect.bisect_left(self._keys, key)]

    def list_keys(self, *, prefix: str = "", delimiter: str = "", after: str = "", most: int = 1000) -> Listing:
        """Return the keys that start with `prefix` and come after `after`.

        Parameters
        ----------
        prefix : str
            Prefix of the keys.
        delimiter : str
            If set, keys that contain it after the prefix are returned as their common prefix.
        after : str
            Keys up to this one are skipped, and so is an equal common prefix.
        most : int
            Maximum number of keys and common prefixes.
        """
        keys: list[str] = []
        prefixes: list[str] = []
        last = after
        place = bisect.bisect_left(self._keys, prefix)
        if after >= prefix:
            place = bisect.bisect_right(self._keys, after)
            if after and after == _find_common_prefix(after, prefix, delimiter):
                place = self._skip(after, place)
        while place < len(self._keys) and self._keys[place].startswith(prefix):
            if len(keys) + len(prefixes) == most:
                return Listing(keys=keys, prefixes=prefixes, after=last or None)
            if common := _find_common_prefix(self._keys[place], prefix, delimiter):
                last = common
                prefixes.append(last)
                place = self._skip(last, place)
            else:
                last = self._keys[place]
                keys.append(last)
                place += 1
        return Listing(keys=keys, prefixes=prefixes, after=None)

    def is_empty(self) -> bool:
        """Return whether there is no object."""
        return not self._objects

    def create_upload(self, upload: str, key: str, *, head: ObjectHead) -> None:
        """Start a multipart upload with a unique id."""
        self._uploads[upload] = _Upload(key=key, head=head)

    def put_part(self, now: float, upload: str, key: str, number: int, content: bytes) -> StoredObject:
        """Store a part of an upload.

        Raises
        ------
        ServiceError
            If there is no such upload.
        """
        part = self._make(now, content, ObjectHead())
        self._find_upload(upload, key).parts[number] = part
        return part

    def complete_upload(
        self, now: float, upload: str, key: str, chosen: Sequence[tuple[int, str]], *, if_absent: bool = False
    ) -> StoredObject:
        """Store an object that consists of the chosen parts.

        Parameters
        ----------
        now : float
            The present time.
        upload, key : str
            Id of the upload, and the object's key.
        chosen : sequence of tuple of int and str
            Numbers and ETags of the parts, in order.
        if_absent : bool
            Whether to fail if the object exists.

        Raises
        ------
        ServiceError
            If there is no such upload, or a part is missing, out of order or too small.
        """
        found = self._find_upload(upload, key)
        numbers = [number for number, _ in chosen]
        if not numbers or numbers != sorted(set(numbers)):
            raise ServiceError("InvalidPartOrder", "The list of parts was not in ascending order.")
        parts = []
        for number, etag in chosen:
            part = found.parts.get(number)
            if part is None or part.etag != etag.strip('"'):
                raise ServiceError("InvalidPart", f"Part {number} could not be found, or its ETag does not match.")
            parts.append(part.content)
        if any(len(part) < PART_MINIMUM for part in parts[:-1]):
            raise ServiceError("EntityTooSmall", f"A part other than the last has less than {PART_MINIMUM} bytes.")
        stored = self.put(now, key, b"".join(parts), head=found.head, if_absent=if_absent)
        del self._uploads[upload]
        return stored

    def abort_upload(self, upload: str, key: str) -> None:
        """Abort a multipart upload and delete its parts.

        Raises
        ------
        ServiceError
            If there is no such upload.
        """
        self._find_upload(upload, key)
        del self._uploads[upload]

    def _make(self, now: float, content: bytes, head: ObjectHead) -> StoredObject:
        self._writes += 1
        return StoredObject(content=content, etag=f"{self._writes:032x}", modified=now, head=head)

    def _skip(self, common: str, place: int) -> int:
        """Return the index of the first key after those that start with a common prefix."""
        return bisect.bisect_left(self._keys, 1, lo=place, key=lambda key: int(not key.startswith(common)))

    def _find_upload(self, upload: str, key: str) -> _Upload:
        found = self._uploads.get(upload)
        if found is None or found.key != key:
            raise ServiceError("NoSuchUpload", "The specified upload does not exist.", status=404)
        return found


def _find_common_prefix(key: str, prefix: str, delimiter: str) -> str:
    """Return the common prefix that replaces a key in a listing; empty if the key is listed itself."""
    if not delimiter:
        return ""
    common, found, _ = key.removeprefix(prefix).partition(delimiter)
    return f"{prefix}{common}{found}" if found else ""


def read_range(text: str, size: int) -> tuple[int, int] | None:
    """Return the start and end of the bytes that a Range header requests.

    Parameters
    ----------
    text : str
        The header, for example ``bytes=0-99``.
    size : int
        Size of the object in bytes.

    Returns
    -------
    tuple of int, or None
        None if S3 does not understand the header, and returns the whole object.

    Raises
    ------
    ServiceError
        If the object has no byte in the range.
    """
    found = _RANGE.fullmatch(text.strip())
    if found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if first:
        start, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    else:
        start, end = max(0, size - int(last)), size
    if start >= end:
        raise ServiceError("InvalidRange", "The requested range is not satisfiable", status=416)
    return start, end

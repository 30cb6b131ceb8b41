"""What travels on the two queues: frozen values, and their sealed text.

A message is three lines of text: the seal, the head and the body.

- The *head* is JSON: kind, version, run, and the fields of the message.
- The *body*, if it travels inline, is base64. Else the head names the S3 object that holds it, and its SHA-256.
- The *seal* is HMAC-SHA256 by the run's key over direction and head. The head holds the body's SHA-256, so seal and
  body are bound to each other wherever the body lies, and the body is hashed but once.

SQS takes XML-legal characters only, hence base64; a message, and a batch of ten, may have 1 MiB.
"""

import base64
import binascii
import dataclasses
import hashlib
import hmac
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

from asyncbatch.errors import MessageError
from asyncbatch.wire.fields import Attempt, Count, Seconds, VersionError, build, quote

VERSION: Final = 5

MESSAGE_LIMIT: Final = 1_048_576
"""Bytes that SQS allows for a message, and for a batch of up to ten together."""

BATCH_LIMIT: Final = 10
"""Messages that SQS allows in a batch."""

INLINE_LIMIT: Final = 72_000
"""Largest body, in bytes, that travels inside its message.

Ten of them, as base64 and with their heads, still make one batch of 1 MiB.
"""

LONGEST_TILE: Final = 41_400.0
"""Seconds that an attempt at a tile may take: SQS hides a message for 12 hours in all, and a tile may be held for a
while before its slot is free. Beyond, another worker would get it too."""

TERMINATED: Final = "terminated"
"""Why a worker leaves that got SIGTERM, or whose machine is to be taken back."""

_SEPARATOR: Final = "\t"
"""Between messages that travel as one: neither hexadecimal digits, base64 nor our JSON hold a tab."""

Direction = Literal["task", "result"]
Outcome = Literal["ok", "error", "lost"]


class ForeignMessageError(MessageError):
    """A well-formed message that belongs to another run."""


class SealError(MessageError):
    """A message, or a body beside it, that is not what was sealed with this run's key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """The bytes that belong to a message: either here, or under a key in S3."""

    sha256: str
    size: Count
    inline: bytes | None = field(default=None, repr=False)
    key: str | None = None

    @classmethod
    def of(cls, content: bytes | bytearray, *, key: str) -> "Body":
        """Describe `content`, which goes to S3 under `key` if it is too large to travel inline."""
        digest = hashlib.sha256(content).hexdigest()
        if len(content) <= INLINE_LIMIT:
            return cls(sha256=digest, size=len(content), inline=bytes(content))
        return cls(sha256=digest, size=len(content), key=key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Main to worker: compute this tile."""

    index: Count
    program: str
    """SHA-256 of the program."""
    program_size: Count
    """Bytes of the program."""
    body: Body
    """The pickled ``(args, kwargs)``."""
    timeout: Seconds = 0.0
    """Seconds that an attempt may take in its slot; 0: no limit."""
    retry_on: list[str] = field(default_factory=list)
    """Names of the exceptions after which it is computed again while it has attempts left."""
    copy: Count = 0
    """1 if the tile was sent before, and is sent a second time since it is slow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentinel:
    """Main to worker: stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Worker to main: what became of a tile."""

    index: Count
    worker: str
    attempt: Attempt
    outcome: Outcome
    seconds: Seconds
    """Time the user's function took."""
    body: Body
    """Pickled: the value; or for ``error`` a `Failure`; or for ``lost`` a `Loss`."""
    log_stream: str = ""
    copy: Count = 0
    """That of the task."""
    peak: Count = 0
    """Most bytes of memory that the slot's process had while the tile computed; 0: not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """How the user's function failed: the content of an ``error`` result."""

    reason: str
    """The exception in one line."""
    traceback: str
    exception: bytes | None
    """The exception as a `SentException`, pickled on its own: unpickling it runs code of the user's."""


Cause = Literal["died", "timeout", "memory"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """Why no attempt at a tile succeeded: the content of a ``lost`` result."""

    reason: str
    """What ended the last attempt."""
    cause: Cause = "died"
    stack: str = ""
    """Where the last attempt stood, if that is known."""
    peak: int = 0
    """Most bytes of memory that the last attempt's process was seen to have; 0: not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """Worker to main: I am up, or: I can't work for you."""

    worker: str
    slots: Count
    versions: dict[str, str]
    log_stream: str = ""
    refusal: str = ""
    """Why the worker does not take part; empty if it does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """Worker to main: I am still up. Sent when there is nothing else to say."""

    worker: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Goodbye:
    """Worker to main: I am leaving."""

    worker: str
    reason: str
    """`TERMINATED` if the worker's machine may be about to go."""
    tiles: Count
    busy_seconds: Seconds
    requests: dict[str, Count]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramDamaged:
    """Worker to main: the bucket does not hold this program as it was uploaded."""

    worker: str
    program: str
    """SHA-256 of the program."""
    reason: str


Message = Task | Sentinel | Result | Hello | Heartbeat | Goodbye | ProgramDamaged

_KINDS: Final[dict[str, type[Message]]] = {kind.__name__: kind for kind in get_args(Message)}


def seal(message: Message, *, run: str, direction: Direction, key: bytes) -> str:
    """Return the text of a message, sealed for one run and one direction."""
    head: dict[str, Any] = {f.name: getattr(message, f.name) for f in dataclasses.fields(message)}
    inline = b""
    body = head.get("body")
    if isinstance(body, Body):
        head["body"] = {"sha256": body.sha256, "size": body.size, "key": body.key}
        inline = body.inline or b""
    head |= {"kind": type(message).__name__, "version": VERSION, "run": run}
    text = json.dumps(head, separators=(",", ":"))
    return f"{_mac(text, direction, key)}\n{text}\n{base64.b64encode(inline).decode()}"


def unseal(text: str, *, run: str, direction: Direction, key: bytes) -> Message:
    """Return the message that a text holds, after checking its seal.

    Raises
    ------
    ForeignMessageError
        If it belongs to another run.
    SealError
        If it is not sealed with this run's key, or for the other direction.
    VersionError
        If it is of another version, or its fields are.
    MessageError
        If it is not a message, and as the root of the others.
    """
    try:
        mac, head_text, inline_text = text.encode("ascii").decode().split("\n")
        head = json.loads(head_text)
        found_run, version, kind = head.pop("run"), head.pop("version"), head.pop("kind")
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise MessageError(f"not an asyncbatch message: {quote(text)}") from error
    if found_run != run:
        raise ForeignMessageError(f"message of run {quote(found_run)} on a queue of run {run!r}")
    if version != VERSION or not isinstance(kind, str) or kind not in _KINDS:
        raise VersionError(
            f"message of kind {quote(kind)} and version {quote(version)}; this side speaks version {VERSION}"
        )
    if not hmac.compare_digest(mac.encode(), _mac(head_text, direction, key).encode()):
        raise SealError(f"message of kind {kind!r} of run {run!r} does not carry this run's seal")
    if "body" in head:
        head["body"] = _open_body(head["body"], inline_text)
    return build(_KINDS[kind], head)


def pack(texts: Iterable[str]) -> str:
    """Return one text for several sealed messages: what goes together costs one message of SQS."""
    return _SEPARATOR.join(texts)


def unpack(text: str) -> list[str]:
    """Return the sealed messages that were packed into a text."""
    return text.split(_SEPARATOR)


def _open_body(described: object, inline_text: str) -> Body:
    """Return the body that a sealed head describes, its inline bytes verified."""
    body = build(Body, described)
    if body.key is not None:
        return body
    try:
        inline = base64.b64decode(inline_text, validate=True)
    except binascii.Error as error:
        raise SealError(f"inline body is not base64: {error}") from error
    digest = hashlib.sha256(inline).hexdigest()
    if len(inline) != body.size or digest != body.sha256:
        raise SealError(f"inline body is not the one sealed: {len(inline)} bytes, {body.size} expected")
    return dataclasses.replace(body, inline=inline)


def _mac(head: str, direction: Direction, key: bytes) -> str:
    return hmac.new(key, f"{direction}\n{head}".encode(), hashlib.sha256).hexdigest()

"""The messages on both queues, and their sealed text.

A message is three lines of text: the seal, the head and the body.

- The *head* is JSON: kind, version, run, and the fields of the message.
- The *body* is in base64 if it is inline. Otherwise the head names the S3 object and its SHA-256.
- The *seal* is an HMAC-SHA256 over direction and head, with the run's key. The head contains the body's SHA-256, so the
  seal covers the body wherever it is stored, and the body is hashed only once.

Bodies are in base64, since SQS accepts only characters that are legal in XML. The limit of a message, and of a batch of
ten, is 1 MiB.
"""

import base64
import binascii
import dataclasses
import hashlib
import hmac
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Final, Literal, get_args

from asyncbatch.errors import MessageError
from asyncbatch.wire.fields import Attempt, Count, Seconds, VersionError, build, quote

VERSION: Final = 7

MESSAGE_LIMIT: Final = 1_048_576
"""Maximum size in bytes of an SQS message, and of a batch of up to ten."""

BATCH_LIMIT: Final = 10
"""Maximum number of messages in an SQS batch."""

INLINE_LIMIT: Final = 72_000
"""Maximum size in bytes of an inline body.

Ten of them, in base64 and with their heads, fit in one batch of 1 MiB.
"""

PROMPT_LIMIT: Final = 720_000
"""The same while slots or main's caller wait for it: it costs more than an object, but two requests in a row less."""

LONGEST_TILE: Final = 41_400.0
"""Maximum number of seconds of an attempt at a tile: SQS hides a message for at most 12 hours, including the time
before a slot is free. After that, another worker would also receive it."""

TERMINATED: Final = "terminated"
"""Reason of a worker that exits after SIGTERM, or because its machine will be reclaimed."""

_SEPARATOR: Final = "\t"
"""Separates messages that are sent as one; hexadecimal digits, base64 and JSON contain no tab."""

Direction = Literal["task", "result"]
Outcome = Literal["ok", "error", "lost"]


class ForeignMessageError(MessageError):
    """A well-formed message that belongs to another run."""


class SealError(MessageError):
    """A message or its body is not sealed with this run's key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """The body of a message: inline, or in an object in S3, which may hold several bodies one after the other."""

    sha256: str
    """Of the body; of the whole object if it holds several."""
    size: Count
    """Size of the body in bytes."""
    inline: bytes | None = field(default=None, repr=False)
    key: str | None = None
    start: Count = 0
    """Position of the body in an object that holds several."""
    object_size: Count = 0
    """Size in bytes of an object that holds several bodies; 0 if it holds only this one."""

    @classmethod
    def of(cls, content: bytes | bytearray, *, key: str, limit: int = INLINE_LIMIT) -> "Body":
        """Return the body for `content`, which is stored in S3 under `key` if it has more than `limit` bytes."""
        digest = hashlib.sha256(content).hexdigest()
        if len(content) <= limit:
            return cls(sha256=digest, size=len(content), inline=bytes(content))
        return cls(sha256=digest, size=len(content), key=key)

    @classmethod
    def of_parts(cls, contents: Sequence[bytes | bytearray], *, key: str) -> "tuple[bytes | bytearray, list[Body]]":
        """Return the content of the object that holds these bodies under `key`, and their descriptions."""
        joined = contents[0] if len(contents) == 1 else b"".join(contents)
        digest, starts = hashlib.sha256(joined).hexdigest(), accumulate(map(len, contents), initial=0)
        size = len(joined) if len(contents) > 1 else 0
        return joined, [
            cls(sha256=digest, size=len(content), key=key, start=start, object_size=size)
            for content, start in zip(contents, starts, strict=False)
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Main to worker: compute this tile."""

    index: Count
    program: str
    """SHA-256 of the program."""
    program_size: Count
    """Size of the program in bytes."""
    body: Body
    """The pickled ``(args, kwargs)``."""
    timeout: Seconds = 0.0
    """Maximum number of seconds of an attempt in its slot; 0 for no limit."""
    retry_on: list[str] = field(default_factory=list)
    """Names of exceptions after which the tile is retried while attempts are left."""
    copy: Count = 0
    """1 if a slow tile is sent a second time, otherwise 0."""
    prompt: bool = False
    """Whether its result may be inline up to `PROMPT_LIMIT` if slots are idle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentinel:
    """Main to worker: stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Worker to main: the result of a tile."""

    index: Count
    worker: str
    attempt: Attempt
    outcome: Outcome
    seconds: Seconds
    """Time the user's function took."""
    body: Body
    """Pickled value; for ``error`` a `Failure`; for ``lost`` a `Loss`."""
    log_stream: str = ""
    copy: Count = 0
    """Value of the task."""
    peak: Count = 0
    """Peak memory of the slot's process in bytes; 0 if it is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """How the user's function failed: the content of an ``error`` result."""

    reason: str
    """The exception on one line."""
    traceback: str
    exception: bytes | None
    """The exception as a `SentException`, pickled separately, since unpickling it runs user code."""


Cause = Literal["died", "timeout", "memory"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """Why all attempts at a tile were lost: the content of a ``lost`` result."""

    reason: str
    """Why the last attempt ended."""
    cause: Cause = "died"
    stack: str = ""
    """Stacks of the last attempt, if known."""
    peak: int = 0
    """Peak memory of the last attempt's process in bytes, as far as observed; 0 if it is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """Worker to main: the worker is up, or can't work for this main."""

    worker: str
    slots: Count
    versions: dict[str, str]
    log_stream: str = ""
    refusal: str = ""
    """Why the worker can't work for this main; empty if it can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """Worker to main: the worker is still up. Sent if there are no other messages."""

    worker: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Goodbye:
    """Worker to main: the worker exits."""

    worker: str
    reason: str
    """`TERMINATED` if the worker's machine may be reclaimed."""
    tiles: Count
    busy_seconds: Seconds
    requests: dict[str, Count]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramDamaged:
    """Worker to main: this program in the bucket is missing or damaged."""

    worker: str
    program: str
    """SHA-256 of the program."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """Worker to main: these tiles of a group were not computed; announce each one alone."""

    worker: str
    tiles: list[Count]
    """Their indices."""


Message = Task | Sentinel | Result | Hello | Heartbeat | Goodbye | ProgramDamaged | Returned

_KINDS: Final[dict[str, type[Message]]] = {kind.__name__: kind for kind in get_args(Message)}


def seal(message: Message, *, run: str, direction: Direction, key: bytes) -> str:
    """Seal a message for one run and one direction, and return its text."""
    head: dict[str, Any] = {f.name: getattr(message, f.name) for f in dataclasses.fields(message)}
    inline = b""
    body = head.get("body")
    if isinstance(body, Body):
        head["body"] = {"sha256": body.sha256, "size": body.size, "key": body.key}
        if body.object_size:
            head["body"] |= {"start": body.start, "object_size": body.object_size}
        inline = body.inline or b""
    head |= {"kind": type(message).__name__, "version": VERSION, "run": run}
    text = json.dumps(head, separators=(",", ":"))
    return f"{_mac(text, direction, key)}\n{text}\n{base64.b64encode(inline).decode()}"


def unseal(text: str, *, run: str, direction: Direction, key: bytes) -> Message:
    """Verify the seal of a text, and return its message.

    Raises
    ------
    ForeignMessageError
        If it belongs to another run.
    SealError
        If it is not sealed with this run's key, or for the other direction.
    VersionError
        If it has another version or other fields.
    MessageError
        If it is not a message; also the base class of the others.
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
            f"message of kind {quote(kind)} and version {quote(version)}; this side needs version {VERSION}"
        )
    if not hmac.compare_digest(mac.encode(), _mac(head_text, direction, key).encode()):
        raise SealError(f"message of kind {kind!r} of run {run!r} does not carry this run's seal")
    if "body" in head:
        head["body"] = _open_body(head["body"], inline_text)
    return build(_KINDS[kind], head)


def pack(texts: Iterable[str]) -> str:
    """Combine sealed messages into one text, so that they cost one SQS message.

    Results and tasks are combined. Several tasks are a *group*: tiles of one program that take little time.
    """
    return _SEPARATOR.join(texts)


def unpack(text: str) -> list[str]:
    """Split a text into its sealed messages."""
    return text.split(_SEPARATOR)


def _open_body(described: object, inline_text: str) -> Body:
    """Return the body that a sealed head describes, and verify inline bytes."""
    body = build(Body, described)
    is_part = bool(body.start or body.object_size)
    if is_part and (body.key is None or body.start + body.size > body.object_size):
        raise MessageError(
            f"body of {body.size} bytes from byte {body.start} is not a part of an object of {body.object_size} bytes"
        )
    if body.key is not None:
        return body
    try:
        inline = base64.b64decode(inline_text, validate=True)
    except binascii.Error as error:
        raise SealError(f"inline body is not base64: {error}") from error
    digest = hashlib.sha256(inline).hexdigest()
    if len(inline) != body.size or digest != body.sha256:
        raise SealError(f"inline body does not match its seal: {len(inline)} bytes, {body.size} expected")
    return Body(sha256=digest, size=len(inline), inline=inline)


def _mac(head: str, direction: Direction, key: bytes) -> str:
    return hmac.digest(key, f"{direction}\n{head}".encode(), hashlib.sha256).hex()

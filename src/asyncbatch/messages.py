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
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeVar, get_args, get_origin, get_type_hints

from asyncbatch.errors import MessageError

VERSION: Final = 2

MESSAGE_LIMIT: Final = 1_048_576
"""Bytes that SQS allows for a message, and for a batch of up to ten together."""

BATCH_LIMIT: Final = 10
"""Messages that SQS allows in a batch."""

INLINE_LIMIT: Final = 72_000
"""Largest body, in bytes, that travels inside its message.

Ten of them, as base64 and with their heads, still make one batch of 1 MiB.
"""

_SHOWN: Final = 60
"""Characters of a refused message that an error quotes: a log line must stay short."""

_Built = TypeVar("_Built")

Direction = Literal["task", "result"]
Outcome = Literal["ok", "error", "lost"]


class ForeignMessageError(MessageError):
    """A well-formed message that belongs to another run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """The bytes that belong to a message: either here, or under a key in S3."""

    sha256: str
    size: int
    inline: bytes | None = field(default=None, repr=False)
    key: str | None = None

    @classmethod
    def of(cls, content: bytes, *, key: str) -> "Body":
        """Describe `content`, which goes to S3 under `key` if it is too large to travel inline."""
        digest = hashlib.sha256(content).hexdigest()
        if len(content) <= INLINE_LIMIT:
            return cls(sha256=digest, size=len(content), inline=content)
        return cls(sha256=digest, size=len(content), key=key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Main to worker: compute this tile."""

    index: int
    program: str
    """SHA-256 of the program."""
    program_size: int
    """Bytes of the program."""
    body: Body
    """The pickled ``(args, kwargs)``."""
    spare: float = 0.0
    """Seconds for which main, busy with others, lets the result wait for company."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentinel:
    """Main to worker: stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Worker to main: what became of a tile."""

    index: int
    worker: str
    attempt: int
    outcome: Outcome
    seconds: float
    """Time the user's function took."""
    body: Body
    """Pickled: the value; or for ``error`` a `Failure`; or for ``lost`` the reason, a string."""
    log_stream: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """How the user's function failed: the content of an ``error`` result."""

    reason: str
    """The exception in one line."""
    traceback: str
    exception: bytes | None
    """The exception itself, pickled on its own since it may not unpickle in main; None if it does not pickle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """Worker to main: I am up, or: I can't work for you."""

    worker: str
    slots: int
    versions: dict[str, str]
    log_stream: str = ""
    refusal: str = ""
    """Why the worker does not take part; empty if it does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Goodbye:
    """Worker to main: I am leaving."""

    worker: str
    reason: str
    tiles: int
    busy_seconds: float
    requests: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramDamaged:
    """Worker to main: the bucket does not hold this program as it was uploaded."""

    worker: str
    program: str
    """SHA-256 of the program."""
    reason: str


Message = Task | Sentinel | Result | Hello | Goodbye | ProgramDamaged

_KINDS: Final[dict[str, type[Message]]] = {kind.__name__: kind for kind in get_args(Message)}
_FIELDS: Final[dict[type, dict[str, Any]]] = {kind: get_type_hints(kind) for kind in (*_KINDS.values(), Body)}


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
    MessageError
        If it is not a message, of another version, or not sealed with this run's key.
    """
    try:
        mac, head_text, inline_text = text.encode("ascii").decode().split("\n")
        head = json.loads(head_text)
        found_run, version, kind = head.pop("run"), head.pop("version"), head.pop("kind")
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise MessageError(f"not an asyncbatch message: {_quoted(text)}") from error
    if found_run != run:
        raise ForeignMessageError(f"message of run {_quoted(found_run)} on a queue of run {run!r}")
    if version != VERSION or not isinstance(kind, str) or kind not in _KINDS:
        raise MessageError(
            f"message of kind {_quoted(kind)} and version {_quoted(version)}; this side speaks version {VERSION}"
        )
    if not hmac.compare_digest(mac.encode(), _mac(head_text, direction, key).encode()):
        raise MessageError(f"message of kind {kind!r} of run {run!r} does not carry this run's seal")
    if "body" in head:
        head["body"] = _open_body(head["body"], inline_text)
    return _build(_KINDS[kind], head)


def _open_body(described: object, inline_text: str) -> Body:
    """Return the body that a sealed head describes, its inline bytes verified."""
    body = _build(Body, described)
    if body.key is not None:
        return body
    try:
        inline = base64.b64decode(inline_text, validate=True)
    except binascii.Error as error:
        raise MessageError(f"inline body is not base64: {error}") from error
    if not hmac.compare_digest(hashlib.sha256(inline).hexdigest().encode(), body.sha256.encode()):
        raise MessageError(f"inline body is not the one sealed: {len(inline)} bytes, {body.size} expected")
    return dataclasses.replace(body, inline=inline)


def _build(kind: type[_Built], values: object) -> _Built:
    """Return the dataclass that sealed values describe.

    A seal says who wrote them, not by which release: a field more, or of another type, is another version's.

    Raises
    ------
    MessageError
        If the values are not those of the dataclass.
    """
    fields = _FIELDS[kind]
    if not isinstance(values, dict):
        raise MessageError(f"{kind.__name__} is {_quoted(values)}, not an object; main and worker differ in version")
    for name, value in values.items():
        if name not in fields or not _fits(value, fields[name]):
            raise MessageError(
                f"{kind.__name__} has the field {_quoted(name)} with {_quoted(value)}, which this version does not "
                "know; main and worker differ in version"
            )
    try:
        return kind(**values)
    except TypeError as error:
        raise MessageError(f"{kind.__name__} lacks a field: {error}; main and worker differ in version") from error


def _fits(value: object, hint: Any) -> bool:  # noqa: ANN401 - a type hint
    """Return whether a value from JSON is of the type that a field has."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return value in arguments
    if origin is dict:
        key, item = arguments
        return isinstance(value, dict) and all(_fits(k, key) and _fits(v, item) for k, v in value.items())
    if arguments:  # a union
        return any(_fits(value, argument) for argument in arguments)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


def _quoted(value: object) -> str:
    """Return how a value looks, cut short."""
    shown = value if isinstance(value, str) else repr(value)
    return repr(shown[:_SHOWN]) + ("…" if len(shown) > _SHOWN else "")


def _mac(head: str, direction: Direction, key: bytes) -> str:
    return hmac.new(key, f"{direction}\n{head}".encode(), hashlib.sha256).hexdigest()

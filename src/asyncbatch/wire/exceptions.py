"""Sends exceptions from a worker to main, each as the nearest class that main can import, with its chain."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import cloudpickle

from asyncbatch.wire import codec

Dump = Callable[[object], bytes]

_CHAIN: Final = 64
"""Maximum number of exceptions to send with one: its causes, contexts, and members of groups."""

_SIZE: Final = 2**20
"""Maximum size of a pickled exception in bytes; larger ones are replaced."""

_TEXT: Final = 2_000
"""Maximum number of characters of a replacement's text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SentException:
    """An exception as a sequence of pickles to try in order, since main may lack its class."""

    candidates: tuple[bytes, ...]
    text: str
    members: "tuple[SentException, ...]" = ()
    """Members of a group, which is created from them, without candidates."""
    group: tuple[bytes, ...] = ()
    """A group's class and attributes, pickled separately."""
    cause: "SentException | None"
    context: "SentException | None"
    suppress_context: bool


def pack_exception(error: BaseException, dump: Dump = cloudpickle.dumps) -> SentException:
    """Pack an exception for sending, with its chain up to a limit.

    Parameters
    ----------
    error : BaseException
        The exception.
    dump : callable
        Pickles it; may raise any exception.
    """
    return _Packer(dump).pack(error)


class _Packer:
    def __init__(self, dump: Dump) -> None:
        self._dump = dump
        self._seen: set[int] = set()

    def pack(self, error: BaseException) -> SentException:
        self._seen.add(id(error))
        members: tuple[BaseException, ...] = ()
        parts: tuple[object, ...] = ()
        if isinstance(error, BaseExceptionGroup):
            members, parts = error.exceptions, (type(error), self._list_attributes(error))
        return SentException(
            candidates=() if parts else tuple(self._list_candidates(error)),
            text=_shorten(get_text(error)),
            members=tuple(filter(None, map(self._pack_linked, members))),
            group=tuple(self._try(part) or b"" for part in parts),
            cause=self._pack_linked(error.__cause__),
            context=self._pack_linked(error.__context__),
            suppress_context=error.__suppress_context__,
        )

    def _pack_linked(self, error: BaseException | None) -> SentException | None:
        if error is None or id(error) in self._seen or len(self._seen) > _CHAIN:
            return None
        return self.pack(error)

    def _list_candidates(self, error: BaseException) -> Iterator[bytes]:
        """Yield pickles of the exception itself if possible, otherwise of the nearest class, then of a built-in one."""
        text = get_text(error)
        pickled = self._try(error)
        nearest: type[BaseException] | None = None
        if pickled is not None and _is_like(pickled, type(error), text):
            yield pickled
            nearest = type(error)
            if nearest.__module__ == "builtins":
                return
        attributes = self._list_attributes(error)
        for kind in type(error).__mro__:
            if not issubclass(kind, BaseException) or kind is nearest:
                continue
            built_in = kind.__module__ == "builtins"
            if nearest is not None and not built_in:
                continue
            pickled = self._replace(error, kind, text, attributes)
            if pickled is not None:
                yield pickled
                nearest = nearest or kind
                if built_in:
                    return

    def _replace(
        self, error: BaseException, kind: type[BaseException], text: str, attributes: Mapping[str, object]
    ) -> bytes | None:
        """Pickle an exception of a class, created without its constructor; None if its text is wrong."""
        short = _shorten(text)
        for arguments, wanted in ((error.args, text), ((short,), short), ((_Verbatim(short),), short)):
            for more in (attributes, {}):
                pickled = self._try(_Replacement(kind, arguments, more))
                if pickled is not None and _is_like(pickled, kind, wanted):
                    return pickled
        return None

    def _list_attributes(self, error: BaseException) -> dict[str, object]:
        """Return the attributes of an exception that can be pickled, including its notes."""
        return {name: value for name, value in vars(error).items() if self._loads_again(value)}

    def _loads_again(self, value: object) -> bool:
        pickled = self._try(value)
        if pickled is None:
            return False
        try:
            codec.loads(pickled)
        except BaseException:  # noqa: BLE001 - as above
            return False
        return True

    def _try(self, obj: object) -> bytes | None:
        try:
            pickled: bytes = self._dump(obj)
        except BaseException:  # noqa: BLE001 - pickling may raise anything
            return None
        return pickled if len(pickled) <= _SIZE else None


def unpack_exception(sent: SentException, load: Callable[[bytes], object]) -> BaseException:
    """Return the first candidate of a sent exception that can be unpickled; a RuntimeError if none can.

    Parameters
    ----------
    sent : SentException
        The result of `pack_exception`.
    load : callable
        Unpickles; may raise any exception.
    """
    error = _unpack_group(sent, load) if sent.members else _unpack_candidate(sent, load)
    if error is None:
        error = RuntimeError(sent.text)
    if sent.cause is not None:
        error.__cause__ = unpack_exception(sent.cause, load)
    if sent.context is not None:
        error.__context__ = unpack_exception(sent.context, load)
    error.__suppress_context__ = sent.suppress_context
    return error


def _unpack_candidate(sent: SentException, load: Callable[[bytes], object]) -> BaseException | None:
    for candidate in sent.candidates:
        error = _load(candidate, load)
        if isinstance(error, BaseException):
            return error
    return None


def _unpack_group(sent: SentException, load: Callable[[bytes], object]) -> BaseException:
    members = [unpack_exception(member, load) for member in sent.members]
    kind, attributes = (_load(part, load) for part in sent.group)
    try:  # its constructor may have other parameters
        error: Any = BaseExceptionGroup.__new__(kind, sent.text, members)  # type: ignore[arg-type]  # wrong ones raise
    except TypeError:
        error = BaseExceptionGroup(sent.text, members)  # an ExceptionGroup where all members are Exceptions
    vars(error).update(attributes if isinstance(attributes, dict) else {})
    return error  # type: ignore[no-any-return]  # one of the two above


def _load(pickled: bytes, load: Callable[[bytes], object]) -> object:
    """Unpickle an object; return None if that fails."""
    try:
        return load(pickled)
    except Exception:  # noqa: BLE001 - unpickling may raise anything
        return None


def get_text(error: BaseException) -> str:
    """Return an exception's text without its class; for a group, without the number of its members."""
    try:
        text = error.message if isinstance(error, BaseExceptionGroup) else str(error)
    except Exception:  # noqa: BLE001 - the user's method may raise anything
        return f"<exception str() of {type(error).__name__} failed>"
    return str(text)


def _shorten(text: str) -> str:
    return text if len(text) <= _TEXT else f"{text[:_TEXT]}..."


class _Verbatim(str):
    """A text whose `repr` has no quotes, since `KeyError` shows the `repr`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


class _Replacement:
    """Unpickles to an exception."""

    def __init__(self, kind: type[BaseException], arguments: tuple[Any, ...], attributes: Mapping[str, object]) -> None:
        self._parts = (kind, arguments, attributes)

    def __reduce__(self) -> tuple[Any, ...]:
        return make_exception, self._parts


def make_exception(
    kind: type[BaseException], arguments: tuple[Any, ...], attributes: Mapping[str, object]
) -> BaseException:
    """Create an exception without calling its constructor, which may have other parameters."""
    error = kind.__new__(kind, *arguments)
    error.args = arguments
    vars(error).update(attributes)
    return error


def _is_like(pickled: bytes, kind: type[BaseException], text: str) -> bool:
    try:
        error = codec.loads(pickled)
        return type(error) is kind and get_text(error) == text
    except BaseException:  # noqa: BLE001 - as above
        return False

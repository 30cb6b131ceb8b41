"""Frozen dataclasses from JSON: names, types and ranges are checked against the hints of the dataclass."""

import dataclasses
import functools
import reprlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias, TypeGuard, TypeVar, get_args, get_origin

from asyncbatch.errors import MessageError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

SHOWN: Final = 60
"""Characters of a refused value that an error quotes: a log line must stay short."""

_Check: TypeAlias = Callable[[Any], bool]
_Built = TypeVar("_Built", bound="DataclassInstance")


class VersionError(MessageError):
    """Content that another version wrote: of another version number, or with fields that this one does not have."""


@dataclass(frozen=True, slots=True)
class Range:
    """The values that a number may have: Python's JSON also reads NaN, Infinity and integers of any size."""

    least: float
    most: float = 2.0**64


Count: TypeAlias = Annotated[int, Range(0)]
Attempt: TypeAlias = Annotated[int, Range(1)]
Seconds: TypeAlias = Annotated[float, Range(0)]


def build(kind: type[_Built], values: object) -> _Built:
    """Return the dataclass that values from JSON describe.

    Raises
    ------
    VersionError
        If they have a field too many or too few, or one with a value of another type or out of its range.
    """
    if not isinstance(values, dict):
        raise VersionError(f"{kind.__name__} is {quote(values)}, not an object; main and worker differ in version")
    checks, needed = _read_hints(kind)
    for name, value in values.items():
        if name not in checks or not checks[name](value):
            raise VersionError(
                f"{kind.__name__} has the field {quote(name)} with the value {quote(value)}, which this version does "
                "not know; main and worker differ in version"
            )
    if missing := needed - values.keys():
        raise VersionError(f"{kind.__name__} lacks {', '.join(sorted(missing))}; main and worker differ in version")
    return kind(**values)


def quote(value: object) -> str:
    """Return how a value looks, in at most `SHOWN` characters, whatever its size and depth."""
    shown = repr(value[:SHOWN]) if isinstance(value, str | bytes) else reprlib.repr(value)
    return shown if len(shown) <= SHOWN else f"{shown[: SHOWN - 1]}…"


@functools.cache
def _read_hints(kind: type["DataclassInstance"]) -> tuple[dict[str, _Check], frozenset[str]]:
    """Return the check of each field, and the fields without a default; each message needs them, so they are cached."""
    absent, fields = dataclasses.MISSING, dataclasses.fields(kind)
    needed = {field.name for field in fields if field.default is absent and field.default_factory is absent}
    return {field.name: _make_check(field.type) for field in fields}, frozenset(needed)


def _make_check(hint: Any) -> _Check:  # noqa: ANN401 - a type hint
    """Return what tells whether a value from JSON is of the type, and in the range, that a field has."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        number, allowed = arguments
        # Compared as they are: a huge integer can't become a float. A NaN is in no range.
        return lambda value: _is_number(value, number) and allowed.least <= value <= allowed.most
    if origin is Literal:
        return lambda value: value in arguments
    checks = [_make_check(argument) for argument in arguments]
    if origin is list:
        return lambda value: isinstance(value, list) and all(map(checks[0], value))
    if origin is dict:
        key, item = checks
        return lambda value: isinstance(value, dict) and all(key(k) and item(v) for k, v in value.items())
    if arguments:  # a union
        return lambda value: any(check(value) for check in checks)
    return lambda value: isinstance(value, hint)


def _is_number(value: object, kind: type) -> TypeGuard[float]:
    """Return whether a value is an integer, or also a float where the field is one; Python's booleans are integers."""
    return isinstance(value, int | float) and not isinstance(value, bool) and (kind is float or isinstance(value, int))

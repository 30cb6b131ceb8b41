"""Finds the part of an object that can't be pickled, and the path to it."""

import functools
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from types import FunctionType, ModuleType
from typing import Final

from asyncbatch.main.pickling.pickler import encode_with_code

_DEPTH: Final = 6
"""Maximum depth of the search."""


def find_culprit(parts: Mapping[str, object]) -> str:
    """Return the path to the innermost part that can't be pickled, and why; empty if there is none."""
    for name, part in parts.items():
        found = _search(part, name, _DEPTH)
        if found:
            return found
    return ""


def _search(obj: object, path: str, depth: int) -> str:
    try:
        encode_with_code(obj)
    except Exception as error:  # noqa: BLE001 - pickling raises anything
        if depth:
            for name, inner in _inside(obj):
                found = _search(inner, f"{path}{name}", depth - 1)
                if found:
                    return found
        return f"{path} (a {type(obj).__name__}) can't be pickled: {error}"
    return ""


def _inside(obj: object) -> Iterator[tuple[str, object]]:
    """Yield the parts of an object that are pickled with it."""
    if isinstance(obj, functools.partial):
        obj = [obj.func, *obj.args, obj.keywords]
    if isinstance(obj, FunctionType):
        yield from _list_referred(obj)
    elif isinstance(obj, Mapping):
        yield from ((f"[{key!r}]", value) for key, value in obj.items())
    elif isinstance(obj, list | tuple | set):
        yield from ((f"[{place}]", value) for place, value in enumerate(obj))
    elif is_dataclass(obj):
        yield from ((f".{field.name}", getattr(obj, field.name)) for field in fields(obj))
    else:
        yield from ((f".{name}", value) for name, value in getattr(obj, "__dict__", {}).items())


def _list_referred(fn: FunctionType) -> Iterator[tuple[str, object]]:
    """Yield the objects that a function refers to and that are pickled with it."""
    for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
        try:
            value = cell.cell_contents
        except ValueError:  # an empty cell
            continue
        yield f" closes over {name!r}, which", value
    for name in fn.__code__.co_names:
        if name in fn.__globals__ and not isinstance(fn.__globals__[name], ModuleType):
            yield f" uses the global {name!r}, which", fn.__globals__[name]

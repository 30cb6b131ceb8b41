"""Fingerprints of functions, to detect that a function refers to other objects than before."""

import functools
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, Final, Self

from asyncbatch.main.pickling.usermodules import find_home

_MOST: Final = 256
"""Maximum number of objects to visit, since this is done for each submitted tile."""

_LONGEST: Final = 64
"""Maximum number of items of a visited container."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The identities of objects that are pickled with a function, as far as they are visited.

    These are globals, closures, defaults, and the content of small containers and objects of the user's classes.
    """

    _parts: tuple[Any, ...]
    """Weak references if possible, so that a function that refers to itself can be deleted."""

    @classmethod
    def of(cls, fn: object) -> Self:
        """Return the fingerprint of a function."""
        return cls(tuple(map(_refer, _walk(fn))))

    def fits(self, fn: object) -> bool:
        """Return whether a function has this fingerprint."""
        parts = iter(self._parts)
        for now in _walk(fn):
            part = next(parts, None)
            if (part() if type(part) is weakref.ref else part) is not now:
                return False
        return next(parts, self) is self


def _refer(part: object) -> object:
    try:
        return weakref.ref(part)
    except TypeError:
        return part


def _walk(fn: object) -> Iterator[object]:
    """Yield everything that a function refers to, in a deterministic order."""
    seen = {id(fn)}
    waiting = [fn]
    looked_at = 0
    while waiting and looked_at < _MOST:
        for inner in _inside(waiting.pop()):
            yield inner
            looked_at += 1
            if id(inner) not in seen:
                seen.add(id(inner))
                waiting.append(inner)


def _inside(obj: object) -> Iterable[object]:
    kind = type(obj)
    if kind in {dict, list, tuple, set, frozenset}:
        return _list_items(obj)
    if kind is FunctionType:
        return _list_referred(obj) if _is_own(obj) else ()
    if kind is functools.partial:
        return (obj.func, *obj.args, obj.keywords)  # type: ignore[attr-defined]  # a partial
    if kind is MethodType:
        return (obj.__self__, obj.__func__)  # type: ignore[attr-defined]  # a method
    if isinstance(obj, type):
        return list(vars(obj).values()) if _is_own(obj) else ()
    return _list_attributes(obj) if _is_own(kind) else ()


def _list_items(container: Any) -> Iterable[object]:  # noqa: ANN401 - several classes
    if len(container) > _LONGEST:
        return ()
    return chain.from_iterable(container.items()) if type(container) is dict else container


def _list_attributes(obj: object) -> list[object]:
    slots = [name for kind in type(obj).__mro__ for name in getattr(kind, "__slots__", ())]
    return [*getattr(obj, "__dict__", {}).values(), *(getattr(obj, name, None) for name in slots if name != "__dict__")]


def _list_referred(fn: Any) -> Iterator[object]:  # noqa: ANN401 - a function
    yield fn.__code__
    yield fn.__defaults__
    yield fn.__kwdefaults__
    for cell in fn.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not filled yet
            continue
    names = _find_names(fn.__code__)
    for name in names:
        if name in fn.__globals__:
            value = fn.__globals__[name]
            yield value
            if type(value) is ModuleType and find_home(value.__name__) is not None:
                inside = vars(value)
                yield from (inside[attribute] for attribute in names if attribute in inside)


@functools.lru_cache(maxsize=512)
def _find_names(code: CodeType) -> tuple[str, ...]:
    """Return the names of globals and attributes in a function's code, including inner functions."""
    names = dict.fromkeys(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names.update(dict.fromkeys(_find_names(constant)))
    return tuple(names)


def _is_own(named: Any) -> bool:  # noqa: ANN401 - a function or a class
    """Return whether a function or class is the user's, and so pickled by value."""
    module = named.__module__
    return module == "__main__" or (isinstance(module, str) and find_home(module) is not None)

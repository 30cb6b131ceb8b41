"""Programs: a function with its shared arguments, pickled once."""

import functools
import hashlib
import sys
import sysconfig
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, Final, Self

import cloudpickle

from asyncbatch import codec
from asyncbatch.errors import ProgramError
from asyncbatch.versions import COMMON

_registry: Final = threading.RLock()
"""cloudpickle's registry of modules is one for the process, and tiles are submitted from any thread."""

_DEPTH: Final = 6
"""How deep the search for what does not pickle goes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A function with its shared arguments, as it is sent to the workers.

    Called with a tile's arguments it does what ``functools.partial(fn, *shared, **shared)`` does: the shared ones
    come first.
    """

    name: str
    """The function's name, for people."""
    digest: str
    """SHA-256 of the content."""
    content: bytes = field(repr=False)

    @classmethod
    def of(cls, fn: Callable[..., object], args: tuple[object, ...], kwargs: Mapping[str, object]) -> Self:
        """Pickle a function and its shared arguments.

        The modules beside the user's script are pickled by value, so that a worker need not have them.

        Raises
        ------
        ProgramError
            If they do not pickle; it names the part that does not.
        """
        called_for = _called_for(fn, args, kwargs)
        name = getattr(called_for, "__qualname__", None) or repr(called_for)
        called = functools.partial(fn, *args, **kwargs) if args or kwargs else fn
        with _by_value(fn, *args, *kwargs.values()):
            try:
                content = codec.join(codec.encode(called))
            except Exception as error:
                parts = {"function": fn, **_named(args, kwargs)}
                raise ProgramError(f"{name} can't be sent to workers: {culprit(parts) or error}") from error
        return cls(name=name, digest=hashlib.sha256(content).hexdigest(), content=content)


def _called_for(fn: Callable[..., object], args: tuple[object, ...], kwargs: Mapping[str, object]) -> object:
    """Return the user's function: where one of ours is to call it, it is among the arguments."""
    if _module_name(fn).partition(".")[0] != __name__.partition(".")[0]:
        return fn
    return next(filter(callable, [*args, *kwargs.values()]), fn)


class ProgramCache:
    """The programs of plain functions, so that one passed again is not pickled again.

    A function counts as the same while it is the same object, so it is sent as it was when first seen. Methods are
    made anew at each access: they are pickled each time, and uploaded only where that gives something new.
    """

    def __init__(self) -> None:
        self._programs: dict[int, tuple[weakref.ref[Any], Program]] = {}

    def program(self, fn: Callable[..., object]) -> Program:
        """Return the program of a function without shared arguments.

        Raises
        ------
        ProgramError
            If it does not pickle.
        """
        key = id(fn)
        known = self._programs.get(key)
        if known is not None and known[0]() is fn:
            return known[1]
        program = Program.of(fn, (), {})
        if not isinstance(fn, BuiltinFunctionType | MethodType):
            try:
                self._programs[key] = (weakref.ref(fn, lambda _: self._programs.pop(key, None)), program)
            except TypeError:  # its class has no room for weak references
                return program
        return program


def encode_arguments(args: tuple[object, ...], kwargs: Mapping[str, object]) -> bytes:
    """Return a tile's payload: a copy, so that what happens to the arguments afterwards does not matter.

    Raises
    ------
    ProgramError
        If an argument does not pickle; it names the part that does not.
    """
    with _by_value(*args, *kwargs.values()):
        try:
            return codec.join(codec.encode((args, kwargs)))
        except Exception as error:
            found = culprit(_named(args, kwargs)) or error
            raise ProgramError(f"a tile can't be sent to workers: {found}") from error


def _named(args: tuple[object, ...], kwargs: Mapping[str, object]) -> dict[str, object]:
    return {**{f"argument {place}": arg for place, arg in enumerate(args)}, **kwargs}


def culprit(parts: Mapping[str, object]) -> str:
    """Return the path to the innermost part that does not pickle, and why; empty if all do."""
    for name, part in parts.items():
        found = _search(part, name, _DEPTH)
        if found:
            return found
    return ""


def _search(obj: object, path: str, depth: int) -> str:
    try:
        cloudpickle.dumps(obj)
    except Exception as error:  # noqa: BLE001 - pickling raises anything
        if depth:
            for name, inner in _inside(obj):
                found = _search(inner, f"{path}{name}", depth - 1)
                if found:
                    return found
        return f"{path} (a {type(obj).__name__}) does not pickle: {error}"
    return ""


def _inside(obj: object) -> Iterator[tuple[str, object]]:
    """Yield what an object is made of, as far as pickling is concerned."""
    if isinstance(obj, functools.partial):
        obj = [obj.func, *obj.args, obj.keywords]
    if isinstance(obj, FunctionType):
        yield from _referred(obj)
    elif isinstance(obj, Mapping):
        yield from ((f"[{key!r}]", value) for key, value in obj.items())
    elif isinstance(obj, list | tuple | set):
        yield from ((f"[{place}]", value) for place, value in enumerate(obj))
    elif is_dataclass(obj):
        yield from ((f".{field.name}", getattr(obj, field.name)) for field in fields(obj))
    else:
        yield from ((f".{name}", value) for name, value in getattr(obj, "__dict__", {}).items())


def _referred(fn: FunctionType) -> Iterator[tuple[str, object]]:
    """Yield what a function refers to that is pickled with it."""
    for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
        try:
            value = cell.cell_contents
        except ValueError:  # not filled yet
            continue
        yield f" closes over {name!r}, which", value
    for name in fn.__code__.co_names:
        if name in fn.__globals__ and not isinstance(fn.__globals__[name], ModuleType):
            yield f" uses the global {name!r}, which", fn.__globals__[name]


@contextmanager
def _by_value(*objects: object) -> Iterator[None]:
    """Have cloudpickle send the user's own modules by value while the block runs.

    Those are the modules beside the user's script, and beside the modules that the objects are from.
    """
    homes = {home for name in ("__main__", *map(_module_name, objects)) if (home := _home(name)) is not None}
    with _registry:
        already = cloudpickle.list_registry_pickle_by_value()
        beside = _beside(frozenset(homes), tuple(sys.modules.values()))
        modules = [module for module in beside if module.__name__ not in already]
        for module in modules:
            cloudpickle.register_pickle_by_value(module)
        try:
            yield
        finally:
            for module in modules:
                cloudpickle.unregister_pickle_by_value(module)


def _module_name(obj: object) -> str:
    """Return the name of the module that a function, or an object's class, is from."""
    while isinstance(obj, functools.partial):
        obj = obj.func
    named = obj if callable(obj) and hasattr(obj, "__module__") else type(obj)
    return getattr(named, "__module__", None) or ""


def _home(name: str) -> Path | None:
    """Return the folder of a module of the user's own, or None."""
    if _is_common(name):
        return None
    path = _own(getattr(sys.modules.get(name), "__file__", None) or "")
    return path.parent if path else None


@functools.lru_cache(maxsize=16)
def _beside(homes: frozenset[Path], loaded: tuple[ModuleType, ...]) -> list[ModuleType]:
    """Return the loaded modules that lie in some folders."""
    found = []
    for module in loaded:
        file, name = getattr(module, "__file__", None) or "", getattr(module, "__name__", "")
        if name == "__main__" or _is_common(name) or not file.endswith(".py") or sys.modules.get(name) is not module:
            continue
        path = _own(file)
        if path and any(path.is_relative_to(home) for home in homes):
            found.append(module)
    return found


def _is_common(name: str) -> bool:
    """Return whether a module is of a package that workers have, wherever it lies: RIOS may run from its sources."""
    return name.partition(".")[0] in COMMON


@functools.cache
def _own(file: str) -> Path | None:
    """Return the path of a file of the user's own; None for what is Python's, installed, or ours: workers have that."""
    if not file:
        return None
    path = Path(file).resolve()
    installed = {"site-packages", "dist-packages"} & {*path.parts, *Path(file).parts}
    return None if installed or any(path.is_relative_to(place) for place in _common_places()) else path


@functools.cache
def _common_places() -> list[Path]:
    """Return the folders of Python's own modules and of ours."""
    standard = (sysconfig.get_path(name) for name in ("stdlib", "platstdlib"))
    return [Path(place).resolve() for place in (*standard, str(Path(__file__).parents[1])) if place]

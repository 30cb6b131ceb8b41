"""Programs: a function with its shared arguments, pickled once."""

import functools
import hashlib
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, Final, Self

import cloudpickle

from asyncbatch import codec
from asyncbatch.errors import ProgramError
from asyncbatch.main.fingerprint import Fingerprint
from asyncbatch.main.usermodules import find_beside, find_home, find_module_name
from asyncbatch.processstate import ProcessState

_registry: Final = threading.RLock()
"""cloudpickle's registry of modules is one for the process, and tiles are submitted from any thread."""

_DEPTH: Final = 6
"""How deep the search for what does not pickle goes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A function with its shared arguments, as it is sent to the workers.

    Called with a tile's arguments it does what ``functools.partial(fn, *shared, **shared)`` does: the shared ones
    come first. The content is the pickled pair of main's `ProcessState` and that function.
    """

    name: str
    """The function's name, for people."""
    digest: str
    """SHA-256 of the content."""
    content: bytes = field(repr=False)

    @classmethod
    def of(
        cls,
        fn: Callable[..., object],
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
        *,
        state: ProcessState | None = None,
    ) -> Self:
        """Pickle a function and its shared arguments.

        The modules beside the user's script are pickled by value, so that a worker need not have them.

        Parameters
        ----------
        fn : callable
            The function.
        args, kwargs : tuple, mapping
            The arguments that all tiles share.
        state : ProcessState, optional
            What the function is to find. Default is the state of this process now.

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
                content = codec.join(codec.encode((state or ProcessState.capture(), called)))
            except Exception as error:
                parts = {"function": fn, **_named(args, kwargs)}
                raise ProgramError(f"{name} can't be sent to workers: {culprit(parts) or error}") from error
        return cls(name=name, digest=hashlib.sha256(content).hexdigest(), content=content)


def _called_for(fn: Callable[..., object], args: tuple[object, ...], kwargs: Mapping[str, object]) -> object:
    """Return the user's function: where one of ours is to call it, it is among the arguments."""
    if find_module_name(fn).partition(".")[0] != __name__.partition(".")[0]:
        return fn
    return next(filter(callable, [*args, *kwargs.values()]), fn)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    function: weakref.ref[Any]
    fingerprint: Fingerprint
    state: ProcessState
    program: Program


class ProgramCache:
    """The programs of plain functions, so that one passed again is not pickled again.

    A function counts as the same while it is the same object, refers to the same objects, and the process is in the
    same state; what was changed in place in a large object is not noticed. Methods are made anew at each access: they
    are pickled each time, and uploaded only where that gives something new.
    """

    def __init__(self) -> None:
        self._known: dict[int, _Known] = {}

    def program(self, fn: Callable[..., object]) -> Program:
        """Return the program of a function without shared arguments.

        Raises
        ------
        ProgramError
            If it does not pickle.
        """
        key = id(fn)
        known = self._known.get(key)
        state = ProcessState.capture()
        if known is not None and known.function() is fn and known.state == state and known.fingerprint.fits(fn):
            return known.program
        fingerprint = Fingerprint.of(fn)  # before pickling: what changes meanwhile is noticed the next time
        program = Program.of(fn, (), {})
        if not isinstance(fn, BuiltinFunctionType | MethodType):
            try:
                function = weakref.ref(fn, lambda _: self._known.pop(key, None))
            except TypeError:  # its class has no room for weak references
                return program
            self._known[key] = _Known(function=function, fingerprint=fingerprint, state=state, program=program)
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
    homes = {home for name in ("__main__", *map(find_module_name, objects)) if (home := find_home(name)) is not None}
    with _registry:
        already = cloudpickle.list_registry_pickle_by_value()
        beside = find_beside(frozenset(homes), tuple(sys.modules.values()))
        modules = [module for module in beside if module.__name__ not in already]
        for module in modules:
            cloudpickle.register_pickle_by_value(module)
        try:
            yield
        finally:
            for module in modules:
                cloudpickle.unregister_pickle_by_value(module)

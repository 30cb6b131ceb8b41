"""Pickles the user's code by value, so that workers need not have it."""

import dataclasses
import functools
import io
import linecache
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary

import cloudpickle

from asyncbatch.main.pickling.imports import find_imported
from asyncbatch.main.pickling.usermodules import find_own, is_own_file
from asyncbatch.wire import codec
from asyncbatch.wire.usercode import (
    MAIN,
    UserCode,
    cache_property,
    cache_results,
    fill_module,
    find_object,
    get_same,
    make_module,
    name_code,
    share_module,
)

T = TypeVar("T")

_registry: Final = threading.RLock()
"""Protects cloudpickle's registry of modules, since tiles may be submitted from any thread."""

_PLACES: Final = ("__doc__", "__file__", "__package__", "__path__")
"""Attributes of a module about itself, except its name."""

_OF_THE_IMPORT: Final = frozenset({"__builtins__", "__cached__", "__loader__", "__spec__"})
"""Attributes of a module that the import system sets, which are valid only in this process."""

_FILE: Final = 2**18
"""Maximum number of characters of a source file to send."""

_TEXT: Final = 2**20
"""Maximum number of characters of all source files."""


@contextmanager
def pickle_by_value() -> Iterator[None]:
    """Make cloudpickle pickle the user's modules by value during the block."""
    with _registry:
        already = cloudpickle.list_registry_pickle_by_value()
        modules = [each for each in find_own(tuple(sys.modules.values())) if each.__name__ not in already]
        for module in modules:
            cloudpickle.register_pickle_by_value(module)
        try:
            yield
        finally:
            for module in modules:
                cloudpickle.unregister_pickle_by_value(module)


def encode_with_code(*objects: object, tile: bool = False) -> list[codec.Buffer]:
    """Return the parts of a body with a tuple: some objects, and the `UserCode` that they need.

    Parameters
    ----------
    objects : object
        The first parts of the tuple.
    tile : bool
        Whether these are a tile's arguments, which should be small: omit source text, and use None instead of the code
        if they need none.

    Raises
    ------
    Exception
        Pickling may raise any exception.
    """
    return pickle_with_code(objects, codec.encode, tile=tile)


def pickle_with_code(
    objects: tuple[object, ...],
    encode: Callable[..., T],
    *,
    tile: bool,
    pickler: "type[CodePickler] | None" = None,
) -> T:
    """Encode some objects and the `UserCode` that they need, with `encode`.

    The modules that functions import are known only after the functions are pickled, and may import others. Pickling is
    therefore repeated until all modules are included.

    Parameters
    ----------
    objects : tuple
        The objects.
    encode : callable
        Called with a tuple and ``dump``, a `codec.Dump`.
    tile : bool
        See `encode_with_code`.
    pickler : type, optional
        The pickler's class; by default `CodePickler`.

    Raises
    ------
    Exception
        Pickling may raise any exception.
    """
    chosen = pickler or CodePickler
    modules: dict[str, ModuleType] = {}
    make = share_module if tile else make_module
    while True:
        code = UserCode(main=_Stub(MAIN, make), modules=modules)  # type: ignore[arg-type]  # it unpickles to a module
        found: dict[str, ModuleType] = {}
        last = _IfNeeded(code) if tile else code

        def dump(obj: object, protocol: int, buffer_callback: Callable[[Any], object]) -> bytes:
            stream = io.BytesIO()
            chosen(stream, protocol, buffer_callback, code=code, found=found, make=make).dump(obj)  # noqa: B023 - called in the same iteration
            return stream.getvalue()

        with pickle_by_value():
            encoded = encode((*objects, last), dump=dump)
        if found.keys() <= modules.keys():
            return encoded
        modules = modules | found


class _IfNeeded:
    """Unpickles to the code noted before this object is pickled, or to None if there is none."""

    def __init__(self, code: UserCode) -> None:
        self.code = code

    def __reduce__(self) -> tuple[Any, ...]:
        self.code.text.clear()
        return (get_same, (self.code,)) if self.code.names or self.code.modules else (type(None), ())


class _Stub:
    """Unpickles to a new module."""

    def __init__(self, name: str, make: Callable[..., ModuleType]) -> None:
        self.name, self.make = name, make

    def __reduce__(self) -> tuple[Any, ...]:
        inside = vars(sys.modules[self.name])
        known = {name: inside[name] for name in _PLACES if isinstance(inside.get(name), str | list)}
        return self.make, (self.name, known)


class _Namespace:
    """Unpickles to the dictionary of a module."""

    def __init__(self, stub: _Stub) -> None:
        self.stub = stub

    def __reduce__(self) -> tuple[Any, ...]:
        return vars, (self.stub,)


class CodePickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
    """Pickles the user's code by value, and notes it.

    Functions of a module share its dictionary as their globals, as in main.
    """

    def __init__(
        self,
        stream: io.BytesIO,
        protocol: int,
        buffer_callback: Callable[[Any], object],
        *,
        code: UserCode,
        found: dict[str, ModuleType],
        make: Callable[..., ModuleType],
    ) -> None:
        super().__init__(stream, protocol=protocol, buffer_callback=buffer_callback)
        self._code = code
        self._found = found
        self._partial: dict[str, Any] = code.partial
        self._partial[MAIN] = code.main
        self._make = make
        self._by_value = {MAIN, *cloudpickle.list_registry_pickle_by_value()}

    def reducer_override(self, obj: Any) -> Any:  # noqa: ANN401 - any object
        """Return the reduction of an object, or NotImplemented for the default."""
        kind = type(obj)
        special = _SPECIAL.get(kind)
        reduced = NotImplemented if special is None else special(self, obj)
        if reduced is NotImplemented:
            if kind is FunctionType:
                self._share_globals(obj)
            reduced = super().reducer_override(obj)
            if reduced is not NotImplemented:
                self._note(obj)
                if isinstance(obj, type):
                    _omit_cache(reduced)
        return reduced

    def _reduce_code(self, code: CodeType) -> Any:  # noqa: ANN401 - as pickle has it
        make, arguments = self.dispatch_table[CodeType](code)
        self._note_text(code.co_filename)
        return name_code, (make, arguments, code.co_filename)

    def _reduce_module(self, module: ModuleType) -> Any:  # noqa: ANN401 - as pickle has it
        if module.__name__ not in self._by_value or sys.modules.get(module.__name__) is not module:
            return NotImplemented
        attributes = {name: value for name, value in vars(module).items() if name not in _OF_THE_IMPORT}
        return get_same, (self._stub(module.__name__),), attributes, None, None, fill_module

    def _reduce_cached(self, fn: Any) -> Any:  # noqa: ANN401 - a function with a cache
        if fn.__module__ not in self._by_value:
            return NotImplemented
        self._note_name(fn)
        attributes = {name: value for name, value in vars(fn).items() if name != "__wrapped__"}
        return cache_results, (fn.__wrapped__, fn.cache_parameters()), attributes

    def _share_globals(self, fn: FunctionType) -> None:
        name = str(fn.__globals__.get("__name__"))
        module = sys.modules.get(name)
        if module is not None and name in self._by_value and vars(module) is fn.__globals__:
            self.globals_ref.setdefault(id(fn.__globals__), _Namespace(self._stub(name)))

    def _note(self, obj: object) -> None:
        if isinstance(obj, FunctionType):
            for module in find_imported(obj.__code__, obj.__globals__):
                self._found.setdefault(module.__name__, module)
        if isinstance(obj, FunctionType | type):
            self._note_name(obj)

    def _note_name(self, obj: Any) -> None:  # noqa: ANN401 - a function or a class
        module, name = obj.__module__, obj.__qualname__
        if module in self._by_value and find_object(module, name) is obj:
            self._stub(module)
            self._code.names.setdefault(module, {})[name] = obj

    def _note_text(self, file: str) -> None:
        text = self._code.text
        if file in text or not is_own_file(file):
            return
        found = "".join(linecache.getlines(file))
        if found and len(found) <= _FILE and len(found) + sum(map(len, text.values())) <= _TEXT:
            text[file] = found

    def _stub(self, name: str) -> Any:  # noqa: ANN401 - it unpickles to a module
        return self._partial.setdefault(name, _Stub(name, self._make))


def _omit_cache(reduced: Any) -> None:  # noqa: ANN401 - as pickle has it
    """Omit what Python stores in a class when it first pickles an instance, so that the pickle remains the same."""
    if len(reduced) > 2:  # noqa: PLR2004 - by value: with a state
        reduced[2][0].pop("__slotnames__", None)


def _reduce_property(_: CodePickler, found: functools.cached_property[Any]) -> Any:  # noqa: ANN401 - as pickle has it
    """Omit the lock, which exists in some versions of Python."""
    return cache_property, (found.func, {name: value for name, value in vars(found).items() if name != "lock"})


def _reduce_weak(_: CodePickler, found: WeakKeyDictionary[Any, Any]) -> Any:  # noqa: ANN401 - as pickle has it
    return WeakKeyDictionary, (dict(found),)


def _reduce_mark(_: CodePickler, found: object) -> Any:  # noqa: ANN401 - as pickle has it
    """Preserve the identity of markers of dataclasses, which are compared by identity."""
    return getattr, (dataclasses, next(name for name, value in vars(dataclasses).items() if value is found))


_SPECIAL: Final[dict[type, Callable[[CodePickler, Any], Any]]] = {
    CodeType: CodePickler._reduce_code,  # noqa: SLF001 - of this module
    ModuleType: CodePickler._reduce_module,  # noqa: SLF001 - of this module
    type(functools.lru_cache(lambda: None)): CodePickler._reduce_cached,  # noqa: SLF001 - of this module
    functools.cached_property: _reduce_property,
    WeakKeyDictionary: _reduce_weak,
    type(dataclasses.MISSING): _reduce_mark,
    type(dataclasses.KW_ONLY): _reduce_mark,
}
"""Reductions for classes that cloudpickle does not pickle, or not correctly."""

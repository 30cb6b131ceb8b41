"""The user's code that is sent with a program: modules, the script, and source text for tracebacks.

Main pickles it by value, and a slot makes it available. Functions that pickles refer to are here, since both have it.
"""

import functools
import importlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import CodeType, ModuleType
from typing import Any, Final, TypeVar

MAIN: Final = "__main__"

T = TypeVar("T")

Names = dict[str, dict[str, object]]
"""The user's functions and classes that a pickle has by value, by module and name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UserCode:
    """The user's code that a program needs in addition to its function."""

    main: ModuleType
    """The script, as far as it is sent."""
    modules: dict[str, ModuleType]
    """Modules that the function imports while it runs, and their packages, by name."""
    partial: dict[str, ModuleType] = field(default_factory=dict)
    """Modules whose functions and classes are sent, and the script."""
    names: Names = field(default_factory=dict)
    text: dict[str, str] = field(default_factory=dict)
    """Source text by file name."""


class UserModule(ModuleType):
    """A user's module on a worker. It is pickled by name, since main has it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return importlib.import_module, (self.__name__,)


def make_module(name: str, attributes: Mapping[str, object]) -> ModuleType:
    """Return a new module, which can't be imported."""
    module = UserModule(name)
    vars(module).update(attributes)
    return module


def share_module(name: str, attributes: Mapping[str, object]) -> ModuleType:
    """Return this process's user module with a name, or a new one, for a tile's arguments."""
    module = sys.modules.get(name)
    return module if type(module) is UserModule else make_module(name, attributes)


def get_same(made: T) -> T:
    """Return the argument; pickles call this for an object that they have already created."""
    return made


def fill_module(module: ModuleType, attributes: Mapping[str, object]) -> None:
    """Set the attributes of a module."""
    vars(module).update(attributes)


def name_code(make: Callable[..., CodeType], arguments: tuple[Any, ...], file: str) -> CodeType:
    """Return a code object with its file name, which some versions of cloudpickle drop."""
    return make(*arguments).replace(co_filename=file)


def cache_results(fn: Callable[..., object], parameters: Mapping[str, Any]) -> Callable[..., object]:
    """Return a function with an empty cache of its results."""
    cached: Callable[..., object] = functools.lru_cache(**parameters)(fn)
    return cached


def cache_property(fn: Callable[[Any], Any], attributes: Mapping[str, object]) -> functools.cached_property[Any]:
    """Return a cached property with a lock of this process, if it needs one."""
    made = functools.cached_property(fn)
    vars(made).update(attributes)
    return made


def find_object(module: str, qualname: str) -> object:
    """Return an object of an imported module by its qualified name; None if there is none."""
    found: object = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found

"""The user's code as it travels with a program: its modules, its script and the text that tracebacks show.

Main pickles it by value, a slot presents it. What the pickles name is here, since both ends have it.
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
"""By module: the functions and classes of the user's that a pickle holds by value, by their names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UserCode:
    """What a program needs beside its function to find the user's code as it is in main."""

    main: ModuleType
    """The script, as far as it travels."""
    modules: dict[str, ModuleType]
    """Modules that the function imports while it runs, and the packages they are in, by name."""
    partial: dict[str, ModuleType] = field(default_factory=dict)
    """Modules of which functions and classes travel, and the script."""
    names: Names = field(default_factory=dict)
    text: dict[str, str] = field(default_factory=dict)
    """Source text by file name."""


class UserModule(ModuleType):
    """A module of the user's own, on a worker. It pickles by name: main has it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return importlib.import_module, (self.__name__,)


def make_module(name: str, attributes: Mapping[str, object]) -> ModuleType:
    """Return a new module, which no import finds."""
    module = UserModule(name)
    vars(module).update(attributes)
    return module


def share_module(name: str, attributes: Mapping[str, object]) -> ModuleType:
    """Return the user's module of that name that this process has, or a new one: for a tile's arguments."""
    module = sys.modules.get(name)
    return module if type(module) is UserModule else make_module(name, attributes)


def get_same(made: T) -> T:
    """Return the argument: what a pickle calls for an object that it has made already."""
    return made


def fill_module(module: ModuleType, attributes: Mapping[str, object]) -> None:
    """Give a module its content."""
    vars(module).update(attributes)


def name_code(make: Callable[..., CodeType], arguments: tuple[Any, ...], file: str) -> CodeType:
    """Return a code object with its file name, which some versions of cloudpickle drop."""
    return make(*arguments).replace(co_filename=file)


def cache_results(fn: Callable[..., object], parameters: Mapping[str, Any]) -> Callable[..., object]:
    """Return a function with an empty cache of its results."""
    cached: Callable[..., object] = functools.lru_cache(**parameters)(fn)
    return cached


def cache_property(fn: Callable[[Any], Any], attributes: Mapping[str, object]) -> functools.cached_property[Any]:
    """Return a cached property with a lock of this process, where it has one."""
    made = functools.cached_property(fn)
    vars(made).update(attributes)
    return made


def find_object(module: str, qualname: str) -> object:
    """Return an object of a loaded module by its qualified name; None if it is not there."""
    found: object = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found

"""Imports the user's function from the user's file."""

import builtins
import importlib.util
import sys
import traceback
from argparse import ArgumentTypeError
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from asyncbatch.errors import ProgramError


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The file and name of a function."""

    path: Path
    name: str


def place(text: str) -> Place:
    """Split ``FILE.py:FUNCTION``.

    Raises
    ------
    ArgumentTypeError
        If the file or the function is missing.
    """
    path, _sign, name = text.rpartition(":")
    if not (path and name.isidentifier()):
        raise ArgumentTypeError(f"{text!r} is not of the form FILE.py:FUNCTION")
    return Place(path=Path(path), name=name)


def load(wanted: Place) -> Callable[..., Any]:
    """Import a Python file, and return one of its functions.

    Raises
    ------
    ProgramError
        If there is no such file or function, or the file can't be imported.
    """
    module = load_module(wanted.path.absolute())
    function = getattr(module, wanted.name, None)
    if callable(function):
        return function  # type: ignore[no-any-return]  # any callable
    own = [name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
    there = ", ".join(sorted(name for name in own if callable(vars(module)[name]))) or "none"
    if hasattr(module, wanted.name):
        kind = type(function).__name__
        raise ProgramError(
            f"{wanted.name} in {wanted.path} is not a function but of type {kind}. Functions in the file: {there}"
        )
    raise ProgramError(f"no function {wanted.name} in {wanted.path}. Functions in the file: {there}")


def find_exceptions(function: Callable[..., Any], names: Sequence[str]) -> tuple[type[Exception], ...]:
    """Return exception classes by their names, from the function's module or Python's built-ins.

    Raises
    ------
    ProgramError
        If there is no such exception.
    """
    module = vars(sys.modules.get(getattr(function, "__module__", ""), builtins))
    found = []
    for name in names:
        kind = module.get(name, getattr(builtins, name, None))
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            raise ProgramError(f"no exception {name!r} in Python's built-ins or in the function's module")
        found.append(kind)
    return tuple(found)


def load_module(path: Path) -> ModuleType:
    """Import a Python file as a module named after it, with its folder on the path, as Python does for a script.

    Raises
    ------
    ProgramError
        If there is no such file, another module has its name, or it can't be imported.
    """
    if not path.is_file():
        raise ProgramError(f"file {path} not found")
    if path.stem in sys.modules or path.stem in sys.stdlib_module_names:
        raise ProgramError(f"{path} has the same name as the module {path.stem!r}. Rename the file")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ProgramError(f"{path} is not a Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[path.stem]
        raise ProgramError(f"{path} can't be imported: {format_import_error(error, path)}") from error
    return module


def format_import_error(error: BaseException, path: Path) -> str:
    """Format an import error on one line, with the line of the user's file that caused it."""
    from asyncbatch.raster.failures import format_one_line  # noqa: PLC0415 - it imports numpy, which would slow down --help

    if isinstance(error, SyntaxError):
        return f"SyntaxError: {error.msg} ({error.filename}, line {error.lineno})"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    where = f" (line {lines[-1]})" if lines else ""
    if isinstance(error, SystemExit):
        return f"it calls sys.exit{where}; move code that is not for import under if __name__ == '__main__'"
    return f"{format_one_line(error)}{where}"

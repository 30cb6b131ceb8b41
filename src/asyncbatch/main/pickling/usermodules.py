"""Finds the user's own modules, which are sent with a program, unlike Python's, installed ones and asyncbatch's."""

import functools
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

from asyncbatch.wire.versions import COMMON


def find_module_name(obj: object) -> str:
    """Return the name of the module of a function or of an object's class."""
    while isinstance(obj, functools.partial):
        obj = obj.func
    named = obj if callable(obj) and hasattr(obj, "__module__") else type(obj)
    return getattr(named, "__module__", None) or ""


def find_home(name: str) -> Path | None:
    """Return the folder of a user's module; None for other modules."""
    if _is_common(name):
        return None
    path = _own(getattr(sys.modules.get(name), "__file__", None) or "")
    return path.parent if path else None


@functools.lru_cache(maxsize=16)
def find_own(loaded: tuple[ModuleType, ...]) -> list[ModuleType]:
    """Return the loaded modules that are the user's, without the script."""
    return [module for module in loaded if _is_loaded(module) and is_own(module)]


def is_own(module: ModuleType) -> bool:
    """Return whether a module is the user's, in any folder, and can be sent."""
    name, file = getattr(module, "__name__", ""), getattr(module, "__file__", None)
    if name == "__main__" or _is_common(name) or name.partition(".")[0] in sys.stdlib_module_names:
        return False
    if file is None:  # a namespace package
        try:
            places = [str(place) for place in getattr(module, "__path__", ())]
        except Exception:  # noqa: BLE001 - sys.modules may contain any object
            return False
        return bool(places) and all(_own(f"{place}/") is not None for place in places)
    return isinstance(file, str) and file.endswith(".py") and _own(file) is not None


def is_own_file(file: str) -> bool:
    """Return whether the code in a file is the user's."""
    return _own(file) is not None


def _is_loaded(module: ModuleType) -> bool:
    return sys.modules.get(getattr(module, "__name__", "")) is module


def _is_common(name: str) -> bool:
    """Return whether a module belongs to a package that workers have, in any folder: RIOS may run from its sources."""
    return name.partition(".")[0] in COMMON


@functools.lru_cache(maxsize=4096)
def _own(file: str) -> Path | None:
    """Return the path of a user's file; None for files of Python, installed packages or asyncbatch."""
    if not file:
        return None
    path = Path(file).resolve()
    installed = {"site-packages", "dist-packages"} & {*path.parts, *Path(file).parts}
    common = any(path.is_relative_to(place) for place in _common_places())
    return None if installed or common or _is_in_installed_folder(path) else path


def _is_in_installed_folder(path: Path) -> bool:
    """Return whether a file is in a folder of `sys.path` into which pip has installed, as with ``--target``."""
    return any(_has_installed(str(parent)) for parent in path.parents if str(parent) in sys.path)


@functools.lru_cache(maxsize=256)
def _has_installed(folder: str) -> bool:
    return any(Path(folder).glob("*.dist-info"))


@functools.cache
def _common_places() -> list[Path]:
    """Return the folders of Python's modules and of asyncbatch."""
    standard = (sysconfig.get_path(name) for name in ("stdlib", "platstdlib"))
    return [Path(place).resolve() for place in (*standard, str(Path(__file__).parents[1])) if place]

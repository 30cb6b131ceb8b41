"""The modules of the user's own, which travel with a program: workers have what is Python's, installed, or ours."""

import functools
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

from asyncbatch.versions import COMMON


def find_module_name(obj: object) -> str:
    """Return the name of the module that a function, or an object's class, is from."""
    while isinstance(obj, functools.partial):
        obj = obj.func
    named = obj if callable(obj) and hasattr(obj, "__module__") else type(obj)
    return getattr(named, "__module__", None) or ""


def find_home(name: str) -> Path | None:
    """Return the folder of a module of the user's own; None for any other."""
    if _is_common(name):
        return None
    path = _own(getattr(sys.modules.get(name), "__file__", None) or "")
    return path.parent if path else None


@functools.lru_cache(maxsize=16)
def find_beside(homes: frozenset[Path], loaded: tuple[ModuleType, ...]) -> list[ModuleType]:
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

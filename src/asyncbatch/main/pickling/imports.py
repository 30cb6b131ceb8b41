"""Finds the user's modules that a function imports while it runs, in its byte code, and imports them in main."""

import dis
import functools
import importlib
import importlib.util
import logging
import sys
from collections.abc import Iterator, Mapping
from types import CodeType, ModuleType
from typing import Final

from asyncbatch.main.pickling.usermodules import is_own

log: Final = logging.getLogger(__name__)


def find_imported(code: CodeType, namespace: Mapping[str, object]) -> Iterator[ModuleType]:
    """Yield the user's modules that a function's code imports, and their packages.

    Parameters
    ----------
    code : CodeType
        The function's code; code of inner functions is also searched.
    namespace : mapping
        The function's globals, to resolve relative imports.
    """
    package = _find_package(namespace)
    for level, name, wanted in _list_imports(code):
        try:
            absolute = importlib.util.resolve_name("." * level + name, package) if level else name
        except ImportError:  # above the top-level package
            continue
        if not is_own_name(absolute.partition(".")[0]):
            continue
        yield from _load_with_parents(absolute)
        for part in wanted:
            # A name may be a submodule or another attribute of the module.
            if not hasattr(sys.modules.get(absolute), part) or f"{absolute}.{part}" in sys.modules:
                yield from _load_with_parents(f"{absolute}.{part}")


def _find_package(namespace: Mapping[str, object]) -> str:
    package = namespace.get("__package__")
    if isinstance(package, str):
        return package
    name = str(namespace.get("__name__") or "")
    return name if "__path__" in namespace else name.rpartition(".")[0]


@functools.lru_cache(maxsize=512)
def _list_imports(code: CodeType) -> tuple[tuple[int, str, tuple[str, ...]], ...]:
    """Return the level, the module name and the imported names of each import statement."""
    found: list[tuple[int, str, tuple[str, ...]]] = []
    instructions = [each for each in dis.get_instructions(code) if each.opname != "EXTENDED_ARG"]
    for place, instruction in enumerate(instructions):
        if instruction.opname == "IMPORT_NAME":
            level, wanted = (each.argval for each in instructions[place - 2 : place])
            found.append((level, instruction.argval, tuple(wanted or ())))
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found += _list_imports(constant)
    return tuple(found)


def is_own_name(top: str) -> bool:
    """Return whether a top-level package or module is the user's."""
    module = sys.modules.get(top)
    if module is not None:
        return is_own(module)
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError, AttributeError):
        return False
    if spec is None:
        return False
    module = ModuleType(top)
    module.__file__, module.__spec__ = spec.origin, spec
    if spec.submodule_search_locations is not None:
        module.__path__ = list(spec.submodule_search_locations)
    return is_own(module)


def _load_with_parents(name: str) -> Iterator[ModuleType]:
    try:
        importlib.import_module(name)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's module may raise anything, which the function may expect
        log.debug(
            "can't import module %s, which the function imports: %s",
            name,
            error,
            extra={"action": "module_not_imported", "module_name": name},
        )
        return
    while name:
        module = sys.modules.get(name)
        if module is not None and is_own(module):
            yield module
        name = name.rpartition(".")[0]

"""Makes the user's code available in a slot's process, and in processes that a tile starts, as in main's process.

The user's script is ``__main__``, and sent modules can be imported. Functions are therefore pickled by name, as
`multiprocessing` requires. A process that `multiprocessing` spawns or starts from a fork server creates its own
``__main__`` by running a module that the slot has written.
"""

import functools
import importlib.machinery
import io
import linecache
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, Final

import cloudpickle

from asyncbatch.wire import codec
from asyncbatch.wire.usercode import MAIN, UserCode, make_module

_PREFIX: Final = "asyncbatch_main_"


class _MainSpec(importlib.machinery.ModuleSpec):
    """The spec of the module to run instead of the script, with the script's package for relative imports."""

    def __init__(self, name: str, package: str) -> None:
        super().__init__(name, None)
        self._package = package

    @property
    def parent(self) -> str:
        """The package of the script."""
        return self._package


class Presenter:
    """Makes the code of programs available in this process, one after another.

    Parameters
    ----------
    folder : Path, optional
        Folder for modules of spawned processes.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._presented: dict[str, ModuleType] = {}
        self._names: dict[str, object] = {}

    def prepare(self, code: UserCode, program: Path) -> None:
        """Prepare a program once: source text for tracebacks, and its script's module for spawned processes."""
        for file, text in code.text.items():
            linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
        if self._folder is not None:
            code.main.__spec__ = _MainSpec(self._write_main(program), getattr(code.main, "__package__", None) or "")

    def dumps(
        self, obj: object, protocol: int | None = None, buffer_callback: Callable[[Any], object] | None = None
    ) -> bytes:
        """Pickle an object for main, with functions and classes of main's script by name.

        By value, main would get copies, whose methods would replace those of main's classes.
        """
        stream = io.BytesIO()
        _Pickler(stream, self._names, protocol=protocol, buffer_callback=buffer_callback).dump(obj)
        return stream.getvalue()

    def present(self, code: UserCode) -> None:
        """Make the code of a program available for imports and pickles, instead of the previous program's."""
        for name, module in self._presented.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]
        self._presented, self._names = {}, {}
        self.present_more(code)

    def present_more(self, code: UserCode) -> None:
        """Also make code available that was sent with a tile's arguments."""
        for module_name, names in code.names.items():
            for name, value in names.items():
                if "." not in name:  # not a part of a class
                    setattr(code.partial[module_name], name, value)
        modules = {**_list_missing(code.partial), **code.modules}
        sys.modules.update(modules)
        self._presented |= {name: module for name, module in modules.items() if name != MAIN}
        sys.modules[MAIN] = code.main
        self._names |= code.names.get(MAIN, {})

    def _write_main(self, program: Path) -> str:
        """Write the module that a spawned process runs instead of the user's script, and return its name."""
        assert self._folder is not None  # noqa: S101 - checked by the caller
        name = _PREFIX + program.name
        self._folder.mkdir(exist_ok=True)
        if str(self._folder) not in sys.path:
            sys.path.append(str(self._folder))
        text = f"from {__name__} import load_main\n\nglobals().update(load_main({str(program)!r}))\n"
        (self._folder / f"{name}.py").write_text(text)
        return name


def load_main(program: str) -> dict[str, Any]:
    """Return the content of the user's script, in a process that a tile has spawned."""
    path = Path(program)
    content: Any = codec.decode(bytearray(path.read_bytes()))
    *_, code = content
    presenter = Presenter()
    presenter.prepare(code, path)
    main = sys.modules[MAIN]
    presenter.present(code)
    sys.modules[MAIN] = main  # multiprocessing will replace it
    return {name: value for name, value in vars(code.main).items() if name not in {"__name__", "__spec__"}}


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
    def __init__(self, stream: io.BytesIO, names: Mapping[str, object], **options: Any) -> None:  # noqa: ANN401 - passed on
        super().__init__(stream, **options)
        self._names = names

    def reducer_override(self, obj: Any) -> Any:  # noqa: ANN401 - any object
        """Pickle the script's objects by name, and everything else as cloudpickle does."""
        if isinstance(obj, type | FunctionType) and obj.__module__ == MAIN and self._names.get(obj.__qualname__) is obj:
            return obj.__qualname__
        return super().reducer_override(obj)


def _list_missing(partial: Mapping[str, ModuleType]) -> dict[str, ModuleType]:
    """Return the modules that are missing on this machine, and their packages."""
    found: dict[str, ModuleType] = {}
    for name, module in partial.items():
        if name == MAIN or _is_installed(name.partition(".")[0]):
            continue
        found[name] = module
        while "." in name:
            name, _, last = name.rpartition(".")  # noqa: PLW2901 - upwards
            package = partial.get(name) or found.get(name) or make_module(name, {"__path__": []})
            vars(package).setdefault(last, found[f"{name}.{last}"])
            found[name] = package
    return found


@functools.lru_cache(maxsize=256)
def _is_installed(name: str) -> bool:
    return importlib.machinery.PathFinder.find_spec(name) is not None

import inspect
from typing import get_args

import pytest

import asyncbatch
from asyncbatch import errors, events, settings
from asyncbatch.launchers import base, subprocess
from asyncbatch.main import dispatcher, executor, program
from asyncbatch.wire import environment


def test_public_names_are_complete() -> None:
    offered = {name: getattr(asyncbatch, name) for name in asyncbatch.__all__}
    every_error = {name: found for name, found in inspect.getmembers(errors, inspect.isclass) if name[0].isupper()}
    assert offered == {
        "BatchExecutor": executor.BatchExecutor,
        "Dispatcher": dispatcher.Dispatcher,
        "Program": program.Program,
        "Settings": settings.Settings,
        "Launcher": base.Launcher,
        "WorkerState": base.WorkerState,
        "SubprocessLauncher": subprocess.SubprocessLauncher,
        "WorkerOutput": subprocess.WorkerOutput,
        "Assignment": environment.Assignment,
        "Observer": events.Observer,
        "Event": events.Event,
        **{event.__name__: event for event in get_args(events.Event)},
        **{name: found for name, found in every_error.items() if issubclass(found, errors.AsyncBatchError)},
    }


def test_lazily_imported_names_are_in_all() -> None:
    assert sorted(asyncbatch.__all__) == sorted(asyncbatch._HOME)  # noqa: SLF001 - that is the point


def test_star_import_imports_only_public_names() -> None:
    names: dict[str, object] = {}
    exec("from asyncbatch import *", names)  # noqa: S102 - only so can it be done within a function
    del names["__builtins__"]
    assert sorted(names) == sorted(asyncbatch.__all__)


def test_dir_lists_public_names_before_their_import() -> None:
    assert set(asyncbatch.__all__) <= set(dir(asyncbatch))


def test_any_other_name_is_rejected() -> None:
    with pytest.raises(AttributeError, match="module 'asyncbatch' has no attribute 'Batch'"):
        getattr(asyncbatch, "Batch")  # noqa: B009 - mypy knows that it is not there

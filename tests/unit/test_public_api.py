import inspect
import subprocess
import sys

import pytest

import asyncbatch
from asyncbatch import errors, settings
from asyncbatch.main import dispatcher, executor, program


def loaded_by(module: str) -> set[str]:
    """Return the modules that importing one brings along, in an interpreter of its own."""
    code = f"import {module}, sys; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


def test_the_public_names_are_those_of_the_project() -> None:
    offered = {name: getattr(asyncbatch, name) for name in asyncbatch.__all__}
    every_error = {name: found for name, found in inspect.getmembers(errors, inspect.isclass) if name[0].isupper()}
    assert offered == {
        "BatchExecutor": executor.BatchExecutor,
        "Dispatcher": dispatcher.Dispatcher,
        "Program": program.Program,
        "Settings": settings.Settings,
        **{name: found for name, found in every_error.items() if issubclass(found, errors.AsyncBatchError)},
    }


def test_all_is_all_that_is_imported_when_used() -> None:
    assert sorted(asyncbatch.__all__) == sorted(asyncbatch._HOME)  # noqa: SLF001 - that is the point


def test_a_star_import_gives_just_the_public_names() -> None:
    names: dict[str, object] = {}
    exec("from asyncbatch import *", names)  # noqa: S102 - only so can it be done within a function
    del names["__builtins__"]
    assert sorted(names) == sorted(asyncbatch.__all__)


def test_the_public_names_are_offered_before_they_are_used() -> None:
    assert set(asyncbatch.__all__) <= set(dir(asyncbatch))


def test_any_other_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="module 'asyncbatch' has no attribute 'Batch'"):
        getattr(asyncbatch, "Batch")  # noqa: B009 - mypy knows that it is not there


def test_importing_the_package_is_cheap() -> None:
    costly = {"aiobotocore", "botocore", "aiohttp", "numpy", "anyio", "asyncio", "cloudpickle"}
    assert not loaded_by("asyncbatch") & costly


def test_the_embedded_endpoint_loads_none_of_the_aws_libraries() -> None:
    assert not loaded_by("asyncbatch.emulator.server") & {"aiobotocore", "botocore", "anyio", "numpy"}


def test_a_worker_loads_nothing_that_only_its_slots_need() -> None:
    assert not loaded_by("asyncbatch.worker.__main__") & {"numpy", "boto3", "moto"}


def test_a_slot_loads_none_of_the_aws_libraries() -> None:
    assert not loaded_by("asyncbatch.worker.child") & {"aiobotocore", "botocore", "aiohttp", "anyio"}

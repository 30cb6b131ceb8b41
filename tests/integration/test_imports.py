"""Tests of what modules import, so that main starts quickly and workers and the endpoint stay small."""

import subprocess
import sys

import pytest

HEAVY = {"aioboto3", "aiohttp", "anyio", "asyncio", "botocore", "cloudpickle", "numpy", "osgeo", "rich", "shtab"}


def find_loaded_modules(module: str) -> set[str]:
    """Return the modules that are loaded after importing one in a new interpreter."""
    code = f"import {module}, sys; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


def test_package_imports_no_heavy_module() -> None:
    costly = {"aiobotocore", "botocore", "aiohttp", "numpy", "anyio", "asyncio", "cloudpickle"}
    assert not find_loaded_modules("asyncbatch") & costly


def test_the_embedded_endpoint_loads_none_of_the_aws_libraries() -> None:
    assert not find_loaded_modules("asyncbatch.emulator.server") & {"aiobotocore", "botocore", "anyio", "numpy"}


def test_a_slot_loads_none_of_the_aws_libraries() -> None:
    assert not find_loaded_modules("asyncbatch.worker.child") & {"aiobotocore", "botocore", "aiohttp", "anyio"}


def test_workers_need_neither_gdal_nor_the_aws_libraries() -> None:
    assert not find_loaded_modules("asyncbatch.raster.blocks") & {"osgeo", "botocore", "rich"}


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["apply", "--help"], ["stack", "create", "--help"]])
def test_commands_that_only_inform_load_no_heavy_library(words: list[str]) -> None:
    code = f"""
import sys
from asyncbatch.cli import main
try:
    main({words})
except SystemExit:
    print(*sys.modules, file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stderr.split()) & HEAVY == set()

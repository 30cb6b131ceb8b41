"""What modules bring along, in interpreters of their own: main starts quickly, workers and the endpoint stay small."""

import subprocess
import sys

import pytest

HEAVY = {"aioboto3", "aiohttp", "anyio", "asyncio", "botocore", "cloudpickle", "numpy", "osgeo", "rich", "shtab"}


def loaded_by(module: str) -> set[str]:
    """Return the modules that importing one brings along, in an interpreter of its own."""
    code = f"import {module}, sys; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


def test_importing_the_package_is_cheap() -> None:
    costly = {"aiobotocore", "botocore", "aiohttp", "numpy", "anyio", "asyncio", "cloudpickle"}
    assert not loaded_by("asyncbatch") & costly


def test_the_embedded_endpoint_loads_none_of_the_aws_libraries() -> None:
    assert not loaded_by("asyncbatch.emulator.server") & {"aiobotocore", "botocore", "anyio", "numpy"}


def test_a_slot_loads_none_of_the_aws_libraries() -> None:
    assert not loaded_by("asyncbatch.worker.child") & {"aiobotocore", "botocore", "aiohttp", "anyio"}


def test_workers_need_neither_gdal_nor_the_aws_libraries() -> None:
    assert not loaded_by("asyncbatch.raster.blocks") & {"osgeo", "botocore", "rich"}


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["apply", "--help"], ["stack", "create", "--help"]])
def test_what_only_informs_loads_no_heavy_library(words: list[str]) -> None:
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

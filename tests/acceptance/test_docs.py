"""Tests of the README and the pages of docs/: code runs, commands can be parsed, and names and links exist."""

import builtins
import importlib
import json
import keyword
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import MISSING, fields
from functools import cache
from pathlib import Path
from typing import get_args

import botocore.session
import numpy as np
import pytest
from osgeo import gdal

import asyncbatch
from asyncbatch import Settings
from asyncbatch.cli import entry
from asyncbatch.cli.parsers import Parser
from asyncbatch.events import Event
from asyncbatch.settings import _VARIABLES
from tests.acceptance.markdown import (
    Block,
    find_anchors,
    find_blocks,
    find_links,
    find_missing_references,
    find_spans,
)

PROJECT = Path(__file__).parents[2]
README = PROJECT / "README.md"
PAGES = [README, PROJECT / "CONTRIBUTING.md", *sorted((PROJECT / "docs").glob("*.md"))]
PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
BLOCKS = [block for page in PAGES for block in find_blocks(page)]
PYTHON = [block for block in BLOCKS if block.language == "python"]
COMMANDS = [(block.place, line) for block in BLOCKS if block.language == "sh" for line in block.commands()]

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def with_place_ids(blocks: list[Block]) -> list[object]:
    return [pytest.param(block, id=block.place) for block in blocks]


# Links


@every_page
def test_links_have_existing_targets(page: Path) -> None:
    assert not find_missing_references(page)
    broken = [target for target in find_links(page) if not has_target(target, page)]
    assert broken == []


def has_target(target: str, page: Path) -> bool:
    """Return whether the file and heading of a link exist; links to other sites are not checked."""
    here = re.sub(
        rf"^(https://raw\.githubusercontent\.com/\w+/\w+|{PYPROJECT['urls']['Repository']}/blob)/main/", "", target
    )
    if here.startswith("https://"):
        return not here.startswith(f"{PYPROJECT['urls']['Repository']}/blob")
    name, _, anchor = here.partition("#")
    path = (PROJECT if here != target else page.parent) / name if name else page
    return path.exists() and (not anchor or anchor in find_anchors(path))


# Commands


@cache
def find_recipes() -> set[str]:
    return set(re.findall(r"^([a-z][\w-]*)(?: [^:\n]*)?:(?!=)", (PROJECT / "Justfile").read_text(), re.MULTILINE))


def split_command(line: str) -> tuple[dict[str, str], list[str]]:
    """Return the variables that a shell line sets for its command, and the command's words."""
    words = shlex.split(line, comments=True)
    variables: dict[str, str] = {}
    while words and (found := re.match(r"([A-Za-z]\w*)=", words[0])):
        variables[found[1]] = words.pop(0)[found.end() :]
    return variables, words


def check_command(words: list[str]) -> None:
    """Fail for commands that the project would not accept, and for programs that this test does not know."""
    match words:
        case ["asyncbatch", *arguments]:
            entry.build_parser().parse_args(arguments)
        case ["just" | "./dev", "deploy", *options]:
            entry.build_parser().parse_args(["stack", "create", *options])
        case ["just" | "./dev", recipe, *_]:
            assert recipe in find_recipes()
        case ["pip", "install", *packages]:
            extras = {name for package in packages for name in re.findall(r"^asyncbatch\[(\w+)\]", package)}
            assert extras <= PYPROJECT["optional-dependencies"].keys()
        case ["sudo", program, *_] if "/" in program:
            assert (PROJECT / program).is_file()
        case ["export", *assignments]:
            assert all(is_project_name(each.split("=")[0]) for each in assignments)
        case ["aws", service, operation, *_]:
            model = botocore.session.get_session().get_service_model(service)
            assert operation in {botocore.xform_name(name, "-") for name in model.operation_names}
        case ["sed", *_, file]:
            assert (PROJECT / file).is_file()
        case ["." | "python3" | "conda" | "git" | "cd", *_] | ["sudo", "apt-get", *_] | []:
            pass  # run manually, as the README says
        case _:
            pytest.fail(f"this test does not know {words}")


@pytest.mark.parametrize(("place", "line"), COMMANDS, ids=[f"{place} {line[:40]}" for place, line in COMMANDS])
def test_commands_can_be_parsed(place: str, line: str) -> None:
    variables, words = split_command(line)
    assert [name for name in variables if not is_project_name(name)] == [], place
    check_command(words)


def find_parser(words: list[str]) -> tuple[Parser, list[str]]:
    """Return the parser of the command with which `words` begin, and the remaining words."""
    parser = entry.build_parser()
    rest = [*words]
    while rest and parser._subparsers is not None:  # noqa: SLF001 - argparse has no public way
        [commands] = [action.choices for action in parser._subparsers._group_actions]  # noqa: SLF001 - as above
        assert commands is not None
        assert rest[0] in commands, f"no command {rest[0]!r}"
        parser = dict(commands)[rest.pop(0)]
    return parser, rest


@every_page
def test_inline_commands_can_be_parsed(page: Path) -> None:
    for span in find_spans(page):
        program, *words = span.split() if not span.startswith("asyncbatch:") else [""]
        if program == "asyncbatch" and words and not words[0].startswith("-"):
            parser, rest = find_parser(words)
            known = parser._option_string_actions  # noqa: SLF001 - as above
            assert [word for word in rest if word.startswith("--") and word not in known] == [], span
        elif program in {"./dev", "just"} and words:
            check_command([program, *words])


# Names

FOREIGN = {
    # RIOS, its tests and its managers
    *("CW_AWSBATCH", "CW_ECS", "CW_SUBPROC", "CW_THREADS", "WorkerExceptionError", "computeBarrierTimeout"),
    *("computeBufferInsertTimeout", "computeBufferPopTimeout", "otherArgsList", "readBufferInsertTimeout"),
    *("readBufferPopTimeout", "singleBlockComputeWorkers"),
    # AWS and Unix
    *("AWS_PROFILE", "AWSServiceRoleForAutoScaling", "ECS_AWSVPC_BLOCK_IMDS", "Client", "InternalError", "TMPDIR"),
    # Dask
    "map_blocks",
    # placeholders for the reader's own names
    *("ENDPOINT", "TREES"),
}


@cache
def find_project_names() -> set[str]:
    """Return all words in the code and in the names of its files."""
    kinds = {".py", ".yaml", ".json", ""}
    inside = [PROJECT / name for name in ("src", "infra", "container", "benchmarks", "demo", ".ci")]
    files = [
        file for folder in inside for file in folder.rglob("*") if file.is_file() and "__pycache__" not in file.parts
    ]
    files += [PROJECT / "Justfile", PROJECT / "dev", PROJECT / "pyproject.toml"]
    text = " ".join(f"{file} {file.read_text()}" for file in files if file.suffix in kinds or "Dockerfile" in file.name)
    return set(re.findall(r"[A-Za-z_]\w*", text))


def is_project_name(name: str) -> bool:
    return name in find_project_names()


def is_identifier(word: str) -> bool:
    """Return whether a word is an identifier in snake_case, CamelCase or upper case."""
    return word.isidentifier() and (word != word.lower() or "_" in word) and not keyword.iskeyword(word)


@every_page
def test_names_in_inline_code_exist(page: Path) -> None:
    spans = [span for span in find_spans(page) if not span.endswith(".py")]
    words = {word for span in spans for word in re.findall(r"[A-Za-z_]\w*", span) if is_identifier(word)}
    known = find_project_names() | FOREIGN | set(dir(builtins))
    assert sorted(words - known) == []


@every_page
def test_dotted_names_can_be_imported(page: Path) -> None:
    dotted = {name for span in find_spans(page) for name in re.findall(r"^asyncbatch(?:\.\w+)+", span)}
    assert [name for name in dotted if not can_be_imported(name)] == []


def can_be_imported(dotted: str) -> bool:
    if dotted.startswith("asyncbatch.rios."):  # RIOS may not be installed
        return is_project_name(dotted.rpartition(".")[2])
    found: object = asyncbatch
    for part in dotted.split(".")[1:]:
        if not hasattr(found, part):
            importlib.import_module(f"{getattr(found, '__name__', '')}.{part}")
        found = getattr(found, part)
    return True


def read_table(page: Path, heading: str) -> Iterator[list[str]]:
    """Yield the cells of each row of the table whose first column has this heading."""
    _, _, rest = page.read_text().partition(f"| {heading} |")
    for line in rest.split("\n\n")[0].splitlines()[2:]:
        yield [cell.strip().strip("`") for cell in line.strip("|").split("|")]


def test_settings_page_lists_all_settings() -> None:
    rows = {cells[0]: cells[1:] for cells in read_table(PROJECT / "docs" / "settings.md", "field")}
    assert {name: cells[0] for name, cells in rows.items()} == _VARIABLES
    plain = {each.name: each.default for each in fields(Settings) if each.default is not MISSING and each.default}
    assert {name: rows[name][1] for name in plain} == {name: format_default(value) for name, value in plain.items()}


def format_default(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


def test_events_page_lists_all_events_with_their_fields() -> None:
    rows = {cells[0]: cells[2] for cells in read_table(PROJECT / "docs" / "events.md", "event")}
    assert rows == {
        event.__name__: ", ".join(f"`{each.name}`" for each in fields(event)).strip("`") for event in get_args(Event)
    }


def test_tests_named_in_reliability_page_exist() -> None:
    named = re.findall(r"`([\w/]+/test_\w+\.py)`", (PROJECT / "docs" / "reliability.md").read_text())
    assert named
    assert [name for name in named if not (PROJECT / "tests" / name).is_file()] == []


@pytest.mark.parametrize("block", with_place_ids([block for block in BLOCKS if block.language == "dockerfile"]))
def test_shown_dockerfiles_match_those_of_the_project(block: Block) -> None:
    shipped = (PROJECT / "container" / "Dockerfile.main").read_text().splitlines()
    entry_point, *lines = reversed(block.text.splitlines())
    assert entry_point in shipped
    assert [line for line in lines if line.split()[0] not in {each.split()[0] for each in shipped if each}] == []


# Code that runs

RUNS_A_POOL_IN_AWS = """
import asyncbatch

class OnThisMachine(asyncbatch.BatchExecutor):
    def __init__(self, workers, **_):
        super().__init__(min(workers, 2), launcher="subprocess", embedded=True)

asyncbatch.BatchExecutor = OnThisMachine
"""
"""Code that runs before a block, so that its pools start processes on this machine instead of jobs of AWS Batch."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the files that the README's code needs: its first file, and a raster of seven bands."""
    folder = tmp_path_factory.mktemp("readme")
    for block in PYTHON:
        if name := re.match(r"# (\w+\.py)\n", block.text):
            (folder / name[1]).write_text(block.text)
    dataset = gdal.GetDriverByName("GTiff").Create(str(folder / "scene.tif"), 300, 280, 7, gdal.GDT_Byte)
    dataset.WriteArray(np.random.default_rng(5).integers(1, 255, (7, 280, 300)).astype(np.uint8))
    del dataset
    return folder


def run_in(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(
        command, cwd=folder, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False
    )


def has_ndvi(folder: Path) -> bool:
    """Return whether the output exists; if so, it must contain the results of the README's function."""
    if not (folder / "ndvi.tif").exists():
        return False
    image, ndvi = (gdal.Open(str(folder / name)).ReadAsArray() for name in ("scene.tif", "ndvi.tif"))
    red, near = image[2].astype("float32"), image[3].astype("float32")
    np.testing.assert_allclose(ndvi, (near - red) / (near + red + 1e-6), rtol=1e-5)
    return True


@pytest.mark.parametrize(
    "block", with_place_ids([block for block in find_blocks(README) if block.language == "python"])
)
def test_python_code_in_readme_runs(block: Block, folder: Path) -> None:
    (folder / "ndvi.tif").unlink(missing_ok=True)
    (folder / "block.py").write_text(RUNS_A_POOL_IN_AWS + block.text)
    done = run_in(folder, sys.executable, "block.py")
    assert done.returncode == 0, done.stderr
    assert has_ndvi(folder) == ("ndvi.tif" in block.text)


@pytest.mark.parametrize("block", with_place_ids(PYTHON))
def test_all_python_code_compiles(block: Block) -> None:
    compile(block.text, block.place, "exec", dont_inherit=True)


LOCAL = sorted(
    {
        line.partition("#")[0].strip()
        for _, line in COMMANDS
        if line.startswith("asyncbatch apply") and "--local" in line
    }
)


@pytest.mark.parametrize("line", LOCAL)
def test_commands_that_need_no_account_run(line: str, folder: Path) -> None:
    (folder / "ndvi.tif").unlink(missing_ok=True)
    done = run_in(folder, *shlex.split(line))
    assert done.returncode == 0, done.stderr
    assert has_ndvi(folder)


def test_documented_replacement_completes_the_policies() -> None:
    [line] = [line for _, line in COMMANDS if line.startswith("sed ")]
    done = run_in(PROJECT, *shlex.split(line))
    assert json.loads(done.stdout)["Statement"]
    assert re.findall(r"\b(ACCOUNT|REGION|STACK|BUCKET|stack-\w+)\b", done.stdout) == []

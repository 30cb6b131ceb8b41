"""Tests that results of RIOS with asyncbatch's workers equal those of serial runs."""

from pathlib import Path
from typing import Any

import pytest

from tests.rios.needs import only_rios_2, rios

import asyncbatch.rios  # isort: skip - needs RIOS
from tests.rios.cases import Case, cases
from tests.rios.rasters import SIZE, content
from tests.rios.styles import STYLES, serial

assert rios
assert asyncbatch.rios

pytestmark = [
    pytest.mark.usefixtures("on_the_endpoint"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),  # warnings of RIOS and GDAL
]

NAMES = [
    "rasters",
    "overlap",
    "several outputs",
    "a list of files",
    "vectors",
    "another resolution",
    "a custom grid",
    "thematic",
    "info",
    "otherargs",
]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    return cases(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory, inputs: dict[str, Case]) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("serial")
    return {
        name: [content(path) for path in case.apply(folder / name, serial)[0]]
        for name, case in inputs.items()
        if case.can_write
    }


def test_all_cases_are_tested(inputs: dict[str, Case]) -> None:
    assert list(inputs) == NAMES


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", NAMES)
def test_equal_to_the_serial_run(
    inputs: dict[str, Case], expected: dict[str, Any], tmp_path: Path, name: str, style: str
) -> None:
    if not inputs[name].can_write:
        pytest.skip(f"this GDAL has no {inputs[name].driver} driver")
    paths, _ = inputs[name].apply(tmp_path / "out", STYLES[style])
    for path, wanted in zip(paths, expected[name], strict=True):
        found = content(path)
        assert {key: found[key] == wanted[key] for key in found} == dict.fromkeys(found, True)


@only_rios_2
@pytest.mark.parametrize("style", STYLES)
def test_otherargs_and_timings_are_returned(inputs: dict[str, Case], tmp_path: Path, style: str) -> None:
    _, returned = inputs["otherargs"].apply(tmp_path / "out", STYLES[style])
    assert sum(other.pixels for other in returned.otherArgsList) == SIZE * SIZE
    assert sum(other.histogram for other in returned.otherArgsList).sum() == SIZE * SIZE
    assert [other.factor for other in returned.otherArgsList] == [3, 3], "one per worker"
    durations = {name: len(pairs) for name, pairs in returned.timings.pairs.items()}
    blocks = 5 * 5
    assert durations["userfunction"] == durations["insert_computebuffer"] == blocks
    assert durations["reading"] == blocks
    assert ("pop_readbuffer" in durations) == (style == "main reads")


@only_rios_2
def test_each_apply_starts_with_new_copies(inputs: dict[str, Case], tmp_path: Path) -> None:
    style = next(iter(STYLES.values()))
    sums = []
    for call in range(2):
        _, returned = inputs["otherargs"].apply(tmp_path / str(call), style)
        sums.append(sum(other.pixels for other in returned.otherArgsList))
    assert sums == [SIZE * SIZE] * 2

import platform
from importlib.metadata import version

import numpy as np
import pytest

from asyncbatch.versions import mismatch, versions_here

MAIN = {"python": "3.11.4", "numpy": "2.1.0", "asyncbatch": "0.3.1", "cloudpickle": "3.1.1"}


def test_what_is_installed_here_is_told() -> None:
    here = versions_here()
    assert here["python"] == platform.python_version()
    assert here["numpy"] == np.__version__
    assert here.keys() == {"python", "asyncbatch", "cloudpickle", "numpy"}


def test_what_is_not_installed_is_left_out() -> None:
    assert versions_here(["no-such-package", "numpy"]).keys() == {"python", "numpy"}
    assert versions_here(["anyio"])["anyio"] == version("anyio")


@pytest.mark.parametrize(
    "other",
    [
        {},
        {"python": "3.11.9"},
        {"numpy": "2.4.6"},
        {"asyncbatch": "0.3.9"},
        {"cloudpickle": "3.2.0"},
        {"cloudpickle": "4.0"},
    ],
)
def test_what_can_exchange_pickles_works_together(other: dict[str, str]) -> None:
    assert mismatch(MAIN, MAIN | other) == ""


@pytest.mark.parametrize(
    ("package", "theirs", "digit"),
    [
        ("python", "3.12.4", "minor"),
        ("python", "3.1.4", "minor"),
        ("numpy", "1.26.4", "major"),
        ("asyncbatch", "0.4.1", "minor"),
    ],
)
def test_what_can_not_is_told_with_both_versions_and_the_mend(package: str, theirs: str, digit: str) -> None:
    assert mismatch(MAIN, MAIN | {package: theirs}) == (
        f"main runs {package} {MAIN[package]} and the worker {package} {theirs}; "
        f"give both the same {digit} version of {package}"
    )


@pytest.mark.parametrize("package", ["numpy", "asyncbatch"])
def test_a_package_that_one_side_lacks_is_told(package: str) -> None:
    without = {name: found for name, found in MAIN.items() if name != package}
    assert f"the worker {package} none" in mismatch(MAIN, without)
    assert f"main runs {package} none" in mismatch(without, MAIN)
    assert mismatch(without, without) == ""

import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pytest

from asyncbatch.wire import versions
from asyncbatch.wire.versions import mismatch, versions_here

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


def test_rios_matters_to_the_last_digit_where_main_uses_it() -> None:
    assert mismatch(MAIN | {"rios": "2.0.9"}, MAIN | {"rios": "2.0.9"}) == ""
    assert mismatch(MAIN, MAIN | {"rios": "2.0.9"}) == ""
    assert mismatch(MAIN | {"rios": "2.0.9"}, MAIN | {"rios": "2.0.8"}) == (
        "main runs rios 2.0.9 and the worker rios 2.0.8; give both the same version of rios"
    )
    assert "and the worker rios none;" in mismatch(MAIN | {"rios": "2.0.9"}, MAIN)


def test_rios_is_told_where_it_is_used_even_run_from_its_sources(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "rios.py").write_text("__version__ = '7.8.9'")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(versions, "_read_version", not_installed)
    monkeypatch.delitem(sys.modules, "rios", raising=False)
    assert "rios" not in versions_here()
    assert versions_here({"rios": "1.0", "python": "3.0"}) == {"rios": "7.8.9", "python": platform.python_version()}
    assert versions_here()["rios"] == "7.8.9"
    del sys.modules["rios"]


def not_installed(package: str) -> str:
    raise PackageNotFoundError(package)

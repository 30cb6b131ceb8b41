import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pytest

from asyncbatch.wire import versions
from asyncbatch.wire.versions import explain_mismatch, list_versions

MAIN = {"python": "3.11.4", "numpy": "2.1.0", "asyncbatch": "0.3.1", "cloudpickle": "3.1.1"}


def test_installed_packages_are_listed() -> None:
    here = list_versions()
    assert here["python"] == platform.python_version()
    assert here["numpy"] == np.__version__
    assert here.keys() == {"python", "asyncbatch", "cloudpickle", "numpy"}


def test_missing_packages_are_omitted() -> None:
    assert list_versions(["no-such-package", "numpy"]).keys() == {"python", "numpy"}
    assert list_versions(["anyio"])["anyio"] == version("anyio")


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
def test_versions_that_can_exchange_pickles_match(other: dict[str, str]) -> None:
    assert explain_mismatch(MAIN, MAIN | other) == ""


@pytest.mark.parametrize(
    ("package", "theirs", "digit"),
    [
        ("python", "3.12.4", "minor"),
        ("python", "3.1.4", "minor"),
        ("numpy", "1.26.4", "major"),
        ("asyncbatch", "0.4.1", "minor"),
    ],
)
def test_a_mismatch_names_both_versions(package: str, theirs: str, digit: str) -> None:
    reason = explain_mismatch(MAIN, MAIN | {package: theirs})
    for part in (f"{package} {MAIN[package]}", f"{package} {theirs}", f"same {digit} version"):
        assert part in reason


@pytest.mark.parametrize("package", ["numpy", "asyncbatch"])
def test_a_package_missing_on_one_side_is_a_mismatch(package: str) -> None:
    without = {name: found for name, found in MAIN.items() if name != package}
    assert f"the worker has {package} none" in explain_mismatch(MAIN, without)
    assert f"main has {package} none" in explain_mismatch(without, MAIN)
    assert explain_mismatch(without, without) == ""


def test_rios_must_match_exactly_if_main_uses_it() -> None:
    assert explain_mismatch(MAIN | {"rios": "2.0.9"}, MAIN | {"rios": "2.0.9"}) == ""
    assert explain_mismatch(MAIN, MAIN | {"rios": "2.0.9"}) == ""
    assert "the same version of rios" in explain_mismatch(MAIN | {"rios": "2.0.9"}, MAIN | {"rios": "2.0.8"})
    assert "the worker has rios none" in explain_mismatch(MAIN | {"rios": "2.0.9"}, MAIN)


def test_rios_is_listed_if_used_even_without_metadata(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "rios.py").write_text("__version__ = '7.8.9'")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(versions, "_read_version", not_installed)
    monkeypatch.delitem(sys.modules, "rios", raising=False)
    assert "rios" not in list_versions()
    assert list_versions({"rios": "1.0", "python": "3.0"}) == {"rios": "7.8.9", "python": platform.python_version()}
    assert list_versions()["rios"] == "7.8.9"
    del sys.modules["rios"]


def not_installed(package: str) -> str:
    raise PackageNotFoundError(package)

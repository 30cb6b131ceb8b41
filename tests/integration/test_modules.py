"""Tests that a function is sent with the user's modules, wherever they are and however it imports them."""

import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any, Final

import pytest

from asyncbatch import BatchExecutor, TileError
from tests.integration.conftest import Script

FILES: Final = {
    "helper.py": "import threading\nfrom dataclasses import dataclass\n\n\n"
    "count = 0\n\n\ndef twice(value):\n    global count\n    count += 1\n    return 2 * value\n\n\n"
    "@dataclass\nclass Point:\n    x: int\n",
    "package/__init__.py": "SCALE = 10\n",
    "package/steps.py": """
    def scaled(value):
        from . import SCALE
        from .deep import more
        from .deep.more import offset
        return value * SCALE + more.offset(value) + offset(0)
    """,
    "package/deep/__init__.py": "",
    "package/deep/more.py": "import helper\n\n\ndef offset(value):\n    return helper.twice(value) + 1\n",
    "bare/inner.py": "def one():\n    return 1\n",
    "elsewhere/distant.py": "def far(value):\n    import distant_too\n    return distant_too.farther(value)\n",
    "elsewhere/distant_too.py": "def farther(value):\n    return value + 1000\n",
}

HEAD: Final = """
import sys
from asyncbatch import BatchExecutor
"""

RUN: Final = """
if __name__ == "__main__":
    with BatchExecutor(1, launcher="subprocess") as pool:
        print(pool.submit(fn, 3).result(timeout=120))
"""


@pytest.fixture
def run(script: Script, tmp_path: Path) -> Callable[..., str]:
    """Return a function that runs a script in the folder of the files, and returns its last line of output."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(dedent(text))

    def start(text: str, **variables: str) -> str:
        process = script(HEAD + dedent(text) + RUN, **variables)
        output, errors = process.communicate(timeout=180)
        assert not process.returncode, errors
        return output.splitlines()[-1]

    return start


@pytest.mark.parametrize(
    ("body", "result"),
    [
        ("import helper; return helper.twice(value), helper.count", "(6, 1)"),
        ("from helper import twice as double; return double(value)", "6"),
        ("import package.deep.more as more; return more.offset(value)", "7"),
        ("from package.steps import scaled; return scaled(value)", "38"),
        ("from bare import inner; return inner.one()", "1"),
        ("from bare.inner import one; return one()", "1"),
        ("from helper import Point; return Point(1) == point and isinstance(point, Point)", "True"),
        ("import helper; from helper import Point; helper.Point(1); return helper.Point is Point", "True"),
    ],
)
def test_modules_that_a_function_imports_when_it_runs_are_sent(run: Callable[..., str], body: str, result: str) -> None:
    text = "import helper\npoint = helper.Point(1)\n" if "point" in body else ""
    assert run(f"{text}\ndef fn(value):\n    {body}\n") == result


def test_modules_elsewhere_on_the_path_are_sent(run: Callable[..., str], tmp_path: Path) -> None:
    inserted = f"sys.path.insert(0, {str(tmp_path / 'elsewhere')!r})\n"
    inside = "\ndef fn(value):\n    from distant import far\n    return far(value)\n"
    assert run(inserted + inside) == "1003"
    assert run(inserted + "import distant\ndef fn(value):\n    return distant.far(value)\n") == "1003"
    assert run(inside, PYTHONPATH=":".join([str(tmp_path / "elsewhere"), *sys.path[1:]])) == "1003"


def test_changed_module_is_sent_in_its_current_state(run: Callable[..., str]) -> None:
    text = """
    import package
    package.SCALE = 100

    def fn(value):
        from package.steps import scaled
        return scaled(value)
    """
    assert run(text) == "308"


def test_modules_of_a_tile_s_arguments_are_sent(run: Callable[..., str]) -> None:
    text = """
    import package.steps

    def call(fn, value):
        return fn(value)

    class fn:
        def __new__(cls, value):
            return cls.apply(value)

        @staticmethod
        def apply(value):
            from functools import partial
            from bare.inner import one
            return call(package.steps.scaled, value) + one()
    """
    assert run(text) == "39"


def test_worker_does_not_find_modules_in_main_s_folder(run: Callable[..., str], tmp_path: Path) -> None:
    """Main's folder is not on the path of workers; relative file names refer to it."""
    text = """
    import os
    def fn(value):
        import importlib.util
        return [importlib.util.find_spec(name) for name in ("helper", "script")], os.path.exists("helper.py")
    """
    for path in (None, ".", "", str(tmp_path)):
        variables = {} if path is None else {"PYTHONPATH": ":".join([path, *sys.path[1:]])}
        assert run(text, **variables) == "([None, None], True)"


def lacking(name: str) -> object:
    return __import__(name)


def test_error_for_a_missing_package_has_a_fix(pool: BatchExecutor) -> None:
    error: Any = pool.submit(lacking, "nowhere").exception(timeout=60)
    assert isinstance(error, TileError)
    assert "PIP_PACKAGES" in error.reason
    assert isinstance(error.__cause__, ModuleNotFoundError)
    assert error.__cause__.name == "nowhere"


def test_error_for_a_missing_user_module_has_a_fix(
    pool: BatchExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "computed_name.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    error: Any = pool.submit(lacking, "computed_name").exception(timeout=60)
    assert "PIP_PACKAGES" not in error.reason
    assert "import computed_name" in error.reason

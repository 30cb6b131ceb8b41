"""``asyncbatch run`` where it can't; `tests/rios` has it at work."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest


def ran(folder: Path, *words: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "asyncbatch.cli", "run", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.stdout == ""
    return done.returncode, done.stderr


@pytest.mark.skipif(find_spec("rios") is not None, reason="RIOS is installed")
@pytest.mark.parametrize("line", ["import rios", "from rios.applier import apply", "import os, asyncbatch.rios"])
def test_without_rios_one_line_says_how_to_get_it(tmp_path: Path, line: str) -> None:
    (tmp_path / "script.py").write_text(f"{line}\nprint('never')")
    status, err = ran(tmp_path, "script.py")
    assert status == 1
    assert err.startswith("asyncbatch: error: RIOS is not installed")
    assert "https://www.rioshome.org" in err
    assert err.count("\n") == 1


@pytest.mark.skipif(find_spec("rios") is not None, reason="RIOS is installed")
def test_without_rios_the_import_says_so_too() -> None:
    with pytest.raises(ImportError, match=r"RIOS is not installed in this Python: install it as https://"):
        __import__("asyncbatch.rios")


@pytest.mark.skipif(find_spec("rios") is not None, reason="RIOS is installed")
def test_a_script_that_needs_no_rios_runs_without(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("import sys\nprint('done', file=sys.stderr)")
    assert ran(tmp_path, "script.py") == (0, "done\n")


def test_a_script_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert ran(tmp_path, "nowhere.py") == (
        1,
        "asyncbatch: error: nowhere.py can't be read: No such file or directory\n",
    )


@pytest.mark.parametrize("words", [[], ["--workers", "0", "script.py"], ["--workers", "script.py"]])
def test_wrong_usage(tmp_path: Path, words: list[str]) -> None:
    status, err = ran(tmp_path, *words)
    assert status == 2
    assert err.startswith("usage: ")

"""Tests of the wheel in a separate environment."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.conftest import account, isolated
from tests.integration.endpoint import Endpoint

__all__ = ["account", "isolated"]

PROJECT = Path(__file__).parents[2]


def run_command(*command: object, **variables: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | variables
    done = subprocess.run([str(word) for word in command], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


LOCAL = """
from asyncbatch import BatchExecutor

if __name__ == "__main__":
    with BatchExecutor.local(1) as pool:
        print(list(pool.map(abs, range(-3, 0))))
"""


@pytest.mark.limit(300)
def test_wheel_has_local_mode_and_the_template(account: Endpoint, tmp_path: Path) -> None:
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
    constraints = PROJECT / "constraints.txt"
    run_command(*pip, "wheel", "--no-deps", "--build-constraint", constraints, "--wheel-dir", tmp_path, PROJECT)
    [wheel] = tmp_path.glob("asyncbatch-*.whl")
    run_command(sys.executable, "-m", "venv", "--without-pip", tmp_path / "clean")
    python = tmp_path / "clean" / "bin" / "python"
    run_command(*pip, "--python", python, "install", "--constraint", constraints, wheel)

    variables = {**account.variables(), "RIOS_AWSBATCH_REGION": "us-west-2"}
    asyncbatch = tmp_path / "clean" / "bin" / "asyncbatch"
    assert run_command(asyncbatch, "stack", "create", "--wait", **variables).endswith("stack RIOS is ready\n")
    assert "BatchBucket" in run_command(asyncbatch, "stack", "outputs", **variables)
    (tmp_path / "script.py").write_text(LOCAL)
    assert run_command(python, tmp_path / "script.py") == "[3, 2, 1]\n"
    assert "asyncbatch-worker" in {path.name for path in (tmp_path / "clean" / "bin").iterdir()}

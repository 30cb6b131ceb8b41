"""Tests of the script that verifies on AWS what emulators can't: it reports each step and always deletes its stack."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "demo" / "prove_on_aws.py"

COMMAND = """#!/bin/sh
echo "$(basename "$0") $*" >>"$0.log"
case "$*" in {failing}) echo "AWS refuses"; exit 3;; esac
"""


@pytest.mark.parametrize(
    ("failing", "asked"),
    [("*create*", ["create", "delete"]), ("doctor", ["create", "delete", "create", "doctor", "doctor", "submit"])],
)
def test_stack_is_deleted_after_any_failure_and_the_report_names_it(
    tmp_path: Path, failing: str, asked: list[str]
) -> None:
    for name in ("asyncbatch", "just"):
        command = tmp_path / name
        command.write_text(COMMAND.format(failing=failing))
        command.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, str(SCRIPT)], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    lines = (tmp_path / "asyncbatch.log").read_text().splitlines()
    words = [next(word for word in line.split()[1:] if word != "stack") for line in lines]
    assert words[: len(asked)] == asked
    assert words[-1] == "delete"
    report = (tmp_path / "prove-on-aws.md").read_text()
    assert "no, status 3" in report
    assert "AWS refuses" in report
    assert not (tmp_path / "prove-on-aws-main.py").exists()

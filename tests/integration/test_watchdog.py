"""Tests that a hanging test fails and shows the stacks of its processes, and that the next tests run."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

pytestmark = pytest.mark.limit(600)  # the setup of the first test runs a whole pytest

REPOSITORY: Final = Path(__file__).parents[2]
HANGING: Final = " - tests.watchdog.HangingError: "


@pytest.fixture(scope="module")
def output() -> str:
    """Return pytest's output for the tests in `hanging.py`."""
    command = [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider", "tests/integration/hanging.py"]
    wide = os.environ | {"COLUMNS": "500"}
    done = subprocess.run(command, cwd=REPOSITORY, env=wide, capture_output=True, text=True, check=False)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def stacks(output: str) -> dict[str, str]:
    """Return the stacks of all processes by command, while a pool computes a tile that never ends."""
    [report] = re.findall(r"^_+ test_result_is_waited_for _+$(.*?)^_+ test_\w+ _+$", output, re.MULTILINE | re.DOTALL)
    return dict(re.findall(r"^== process .*?: (.*?)\n(.*?)(?=^== process|\Z)", report, re.MULTILINE | re.DOTALL))


def select(stacks: dict[str, str], module: str) -> str:
    """Return the stacks of the process that runs a module or has this name."""
    names = (f"-m {module}", f"== {module}")
    [found] = [text for command, text in stacks.items() if any(name in f"== {command} " for name in names)]
    return found


def test_hanging_tests_fail_and_the_next_tests_run(output: str) -> None:
    assert dict(re.findall(r"^(?:FAILED|PASSED|ERROR) \S+::(\w+)( - \S+: )?", output, re.MULTILINE)) == {
        "test_result_is_waited_for": HANGING,
        "test_lock_is_waited_for": HANGING,
        "test_interruption_is_suppressed": HANGING,
        "test_task_is_waited_for": HANGING,
        "test_next_test_passes": "",
        "test_next_async_test_passes": "",
    }


def test_stacks_show_the_test(stacks: dict[str, str]) -> None:
    assert re.search(r"hanging.py\W.* in test_result_is_waited_for", select(stacks, "pytest "))


def test_stacks_show_the_tasks_of_main(stacks: dict[str, str]) -> None:
    assert re.search(
        r"^Task .*(\n  File .*)*asyncbatch/main/receiver.py", select(stacks, "pytest "), flags=re.MULTILINE
    )


def test_stacks_show_the_worker(stacks: dict[str, str]) -> None:
    assert "asyncbatch/worker/__main__.py" in select(stacks, "asyncbatch-work ")


def test_stacks_show_the_tile(stacks: dict[str, str]) -> None:
    assert re.search(r"gate.py\W.* in __call__", select(stacks, "asyncbatch-slot "))


def test_stacks_show_the_endpoint(stacks: dict[str, str]) -> None:
    assert "Current thread 0x" in select(stacks, "asyncbatch.emulator ")

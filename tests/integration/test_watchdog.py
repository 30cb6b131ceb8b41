"""A test that hangs fails by itself, shows where all its processes are, and lets the others go on."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

pytestmark = pytest.mark.limit(600)  # a whole pytest runs in the setup of the first

REPOSITORY: Final = Path(__file__).parents[2]
HANGING: Final = " - tests.watchdog.HangingError: "


@pytest.fixture(scope="module")
def output() -> str:
    """Return what pytest writes of the tests in `hanging.py`."""
    command = [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider", "tests/integration/hanging.py"]
    wide = os.environ | {"COLUMNS": "500"}
    done = subprocess.run(command, cwd=REPOSITORY, env=wide, capture_output=True, text=True, check=False)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def stacks(output: str) -> dict[str, str]:
    """Return the stacks by command of the processes there are while a pool computes a tile that never ends."""
    [report] = re.findall(r"^_+ test_result_is_waited_for _+$(.*?)^_+ test_\w+ _+$", output, re.MULTILINE | re.DOTALL)
    return dict(re.findall(r"^== process .*?: (.*?)\n(.*?)(?=^== process|\Z)", report, re.MULTILINE | re.DOTALL))


def of(stacks: dict[str, str], module: str) -> str:
    """Return the stacks of the one process that runs a module, or has that name."""
    names = (f"-m {module}", f"== {module}")
    [found] = [text for command, text in stacks.items() if any(name in f"== {command} " for name in names)]
    return found


def test_tests_that_hang_fail_and_those_after_them_go_on(output: str) -> None:
    assert dict(re.findall(r"^(?:FAILED|PASSED|ERROR) \S+::(\w+)( - \S+: )?", output, re.MULTILINE)) == {
        "test_result_is_waited_for": HANGING,
        "test_lock_is_waited_for": HANGING,
        "test_interruption_is_suppressed": HANGING,
        "test_task_is_waited_for": HANGING,
        "test_next_test_passes": "",
        "test_next_async_test_passes": "",
    }


def test_the_stacks_say_where_the_test_is(stacks: dict[str, str]) -> None:
    assert re.search(r"hanging.py\W.* in test_result_is_waited_for", of(stacks, "pytest "))


def test_the_stacks_say_where_the_tasks_of_main_wait(stacks: dict[str, str]) -> None:
    assert re.search(r"^Task .*(\n  File .*)*asyncbatch/main/receiver.py", of(stacks, "pytest "), flags=re.MULTILINE)


def test_the_stacks_say_where_the_worker_is(stacks: dict[str, str]) -> None:
    assert "asyncbatch/worker/__main__.py" in of(stacks, "asyncbatch-work ")


def test_the_stacks_say_where_the_tile_is(stacks: dict[str, str]) -> None:
    assert re.search(r"gate.py\W.* in __call__", of(stacks, "asyncbatch-slot "))


def test_the_stacks_say_where_the_endpoint_is(stacks: dict[str, str]) -> None:
    assert "Current thread 0x" in of(stacks, "asyncbatch.emulator ")

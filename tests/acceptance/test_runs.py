"""Tests of ``asyncbatch runs`` and ``asyncbatch gc`` as an operator runs them."""

import os
import signal
import subprocess
import sys

from asyncbatch import BatchExecutor
from tests.integration.conftest import Script, endpoint, isolated, script, swept, team
from tests.integration.endpoint import Endpoint
from tests.integration.eventually import eventually

__all__ = ["endpoint", "isolated", "script", "swept", "team"]

DYING = """
import threading
from asyncbatch import BatchExecutor
pool = BatchExecutor(1, launcher="subprocess")
print(pool.submit(abs, -1).result(), flush=True)
threading.Event().wait()
"""


def run_command(endpoint: Endpoint, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "asyncbatch.cli", *words],
        env=os.environ | endpoint.variables(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_gc_removes_a_killed_run_but_not_an_open_one(
    endpoint: Endpoint,
    script: Script,
    swept: None,  # noqa: ARG001
) -> None:
    assert run_command(endpoint, "runs").endswith("no runs on stack RIOS\n")  # others may have left replays
    dying = script(DYING, ASYNCBATCH_RUN_LEASE="2")
    assert dying.stdout is not None
    assert dying.stdout.readline() == "1\n"
    [dead] = endpoint.runs()
    assert run_command(endpoint, "gc") == "nothing to remove on stack RIOS\n"
    dying.send_signal(signal.SIGKILL)
    dying.wait()
    with BatchExecutor(1, launcher="subprocess", settings=endpoint.settings()) as pool:
        assert pool.submit(abs, -2).result() == 2
        [alive] = endpoint.runs() - {dead}
        reported = eventually(lambda: [line for line in run_command(endpoint, "runs").splitlines() if "over" in line])
        assert len(reported) == 1
        assert reported[0].startswith(f"{dead}  over, last heartbeat ")
        assert f"kept until 24 hours after its last heartbeat: {dead}" in run_command(endpoint, "gc", "--delete")
        assert f"would remove {dead}" in run_command(endpoint, "gc", "--after", "0")
        assert endpoint.runs() == {dead, alive}
        assert run_command(endpoint, "gc", "--delete", "--after", "0").startswith(f"removed {dead}")
        assert endpoint.runs() == {alive}
        assert len(endpoint.queues()) == 2
        assert pool.submit(abs, -3).result() == 3
    assert run_command(endpoint, "runs").endswith("no runs on stack RIOS\n")  # others may have left replays

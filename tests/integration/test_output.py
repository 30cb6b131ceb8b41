"""Tests that all tiles are computed if main's stderr can't be written."""

from typing import Final

import pytest

from tests.integration.conftest import Script
from tests.integration.endpoint import Endpoint
from tests.integration.eventually import eventually
from tests.integration.team import Team, processes

SCRIPT: Final = """
import logging, os, sys
from asyncbatch import BatchExecutor, Settings

def talk(tile):
    print("x" * 99 + "\\n" * (tile % 2), end="", flush=True)
    os.write(2, b"\\r%d %%" % tile * 20_000)
    if tile == 6 and not os.path.exists("died"):  # main warns, in its event loop, when it replaces a worker
        open("died", "w").close()
        os.kill(os.getpgrp(), 9)
    return tile

with BatchExecutor(2, launcher="subprocess", settings=Settings.from_environment(lease=2)) as pool:
    first = pool.submit(talk, 0).result()
    {act}
    results = list(pool.map(talk, range(12)))
print(results == list(range(12)))
"""

ACTS: Final = {
    "nobody reads": "pass",
    "its reader has ended": "pass",
    "closed": "sys.stderr.close()",
    "absent": "sys.stderr = None",
}


@pytest.mark.parametrize("act", ACTS)
def test_unwritable_stderr_loses_no_tile(endpoint: Endpoint, team: Team, script: Script, act: str) -> None:
    main = script(SCRIPT.format(act=ACTS[act]))
    assert main.stderr is not None
    assert main.stdout is not None
    if act == "its reader has ended":
        main.stderr.close()
    assert main.stdout.readline() == "True\n"
    assert main.wait(timeout=20) == 0
    eventually(lambda: not endpoint.leftovers() and not processes(team.mark))

"""RIOS's own tests with asyncbatch's workers. docs/rios-testrios.md explains the results."""

import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.endpoint import Endpoint
from tests.rios.needs import RIOS_1, rios

from osgeo import gdal  # isort: skip - needs RIOS
from rios.riostests import riostestutils  # isort: skip

assert rios

TESTS = sorted(set(re.findall(r"from \. import (test\w+)", inspect.getsource(riostestutils.testAll))))

pytestmark = pytest.mark.skipif(
    gdal.GetDriverByName("HFA") is None, reason="this GDAL has no HFA driver, which RIOS's tests use"
)

NOT_HERE = {
    "testavgmpi": "needs mpi4py, and requests MPI itself",
}

READINGS: dict[str, dict[str, Any]] = {"": {}}
if not RIOS_1:
    READINGS = {"workers read": {}, "main reads": {"computeWorkersRead": False, "numReadWorkers": 1}}


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("name", TESTS)
def test_rios_reports_that_its_test_passed(
    endpoint: Endpoint, tmp_path: Path, record_property: Callable[[str, object], None], name: str, reading: str
) -> None:
    if name in NOT_HERE:
        pytest.skip(NOT_HERE[name])
    settings = {"ASYNCBATCH_LAUNCHER": "subprocess", "FORCED_READING": json.dumps(READINGS[reading])}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # RIOS imports its tests from there
    ran = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("forced.py")), name],
        env=os.environ | endpoint.variables() | settings | {"PATH": path},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    reported = json.loads(ran.stdout.splitlines()[-1])
    record_property("ours", f"{reported['ours']} of {reported['applies']}")
    assert reported["passed"], ran.stdout + ran.stderr

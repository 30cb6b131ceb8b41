"""Tests of `asyncbatch run` with scripts that do not use asyncbatch."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.eventually import eventually
from tests.integration.team import MARK, Team, processes
from tests.rios.needs import rios

from tests.rios.job import PRELUDE  # isort: skip
from tests.rios.rasters import raster  # isort: skip

assert rios

UNCHANGED = PRELUDE.replace(
    "import asyncbatch.rios\n",
    "try:\n    from rios.parallel.aws import batch\nexcept ImportError:\n    pass\n",
)
assert "asyncbatch" not in UNCHANGED

COMMAND = [str(Path(sys.executable).with_name("asyncbatch")), "run"]


@pytest.fixture
def environment(team: Team, tmp_path: Path) -> dict[str, str]:
    image = raster(tmp_path / "image.tif")
    return {name: os.environ[name] for name in ("PATH", "HOME", "XDG_STATE_HOME")} | {MARK: team.mark, "IMAGE": image}


def run_command(command: list[str], environment: dict[str, str], folder: Path) -> tuple[int, str, str]:
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    return done.returncode, done.stdout, done.stderr


def test_unchanged_script_runs_on_the_embedded_endpoint(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        UNCHANGED
        + """
apply(doubled, n=9)
from asyncbatch.rios.pools import POOLS
[(choice, shared)] = POOLS._shared.items()
print(choice.workers, choice.local, shared.pool.status().workers_wanted)
"""
    )
    status, out, err = run_command([*COMMAND, "--local", "--workers", "2", "script.py"], environment, tmp_path)
    assert status == 0, err
    assert out.splitlines()[-1] == "2 True 2"


@pytest.mark.parametrize(
    "code",
    [
        "pass",
        "1 / 0",
        "def f():\n    raise KeyError('deep')\nf()",
        "sys.exit(7)",
        "sys.exit('a word')",
        "sys.exit()",
        "this is not Python",
        "import atexit; left = 5; atexit.register(lambda: print('left', left))",
        "os.kill(os.getpid(), signal.SIGINT)",
        "os.kill(os.getpid(), signal.SIGTERM)",
    ],
)
def test_script_runs_as_with_python(environment: dict[str, str], tmp_path: Path, code: str) -> None:
    folder = tmp_path / "from the user"
    folder.mkdir()
    (folder / "beside.py").write_text("HERE = __file__\n")
    text = "import os, signal, sys, beside\nprint(__name__, __file__, sys.argv, sys.path[0], beside.HERE, flush=True)\n"
    (folder / "script.py").write_text(text + code + "\n")
    words = [str(Path("from the user") / "script.py"), "--workers", "x y"]
    expected = run_command([sys.executable, *words], environment, tmp_path)
    assert run_command([*COMMAND, *words], environment, tmp_path) == expected


def test_ctrl_c_leaves_nothing_of_a_script_behind(environment: dict[str, str], team: Team, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(UNCHANGED + "apply(held)\n")
    with subprocess.Popen(
        [*COMMAND, "--local", "script.py"], env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True
    ) as process:
        eventually(lambda: list(tmp_path.glob("started-*")), within=60)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert err.rstrip().endswith("KeyboardInterrupt")
    eventually(lambda: not processes(team.mark))

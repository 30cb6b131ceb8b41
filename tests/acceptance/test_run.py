"""Tests of ``asyncbatch run``: its errors, and runs with a fake RIOS; `tests/rios` tests it with RIOS itself."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest


def run_command(folder: Path, *words: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "asyncbatch.cli", "run", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.stdout == ""
    return done.returncode, done.stderr


@pytest.mark.skipif(find_spec("rios") is not None, reason="RIOS is installed")
@pytest.mark.parametrize("line", ["import rios", "from rios.applier import apply", "import os, asyncbatch.rios"])
def test_missing_rios_is_reported_with_its_website(tmp_path: Path, line: str) -> None:
    (tmp_path / "script.py").write_text(f"{line}\nprint('never')")
    status, err = run_command(tmp_path, "script.py")
    assert status == 1
    assert err.startswith("asyncbatch: error: RIOS is not installed")
    assert "https://www.rioshome.org" in err
    assert err.count("\n") == 1


@pytest.mark.skipif(find_spec("rios") is not None, reason="RIOS is installed")
def test_import_without_rios_raises_a_clear_error() -> None:
    with pytest.raises(ImportError, match="RIOS is not installed in this Python"):
        __import__("asyncbatch.rios")


@pytest.mark.skipif(find_spec("rios") is not None, reason="RIOS is installed")
def test_script_without_rios_runs(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("import sys\nprint('done', file=sys.stderr)")
    assert run_command(tmp_path, "script.py") == (0, "done\n")


def test_missing_script_is_named(tmp_path: Path) -> None:
    assert run_command(tmp_path, "nowhere.py") == (
        1,
        "asyncbatch: error: nowhere.py can't be read: No such file or directory\n",
    )


@pytest.mark.parametrize("words", [[], ["--workers", "0", "script.py"], ["--workers", "script.py"]])
def test_wrong_usage(tmp_path: Path, words: list[str]) -> None:
    status, err = run_command(tmp_path, *words)
    assert status == 2
    assert err.startswith("usage: ")


RIOS = {
    "__init__.py": "",
    "parallel/__init__.py": "",
    "parallel/jobmanager.py": """
class JobManager:
    def __init__(self, numSubJobs):
        self.numSubJobs = numSubJobs

    def startAllJobs(self, function, jobs):
        others = [self.startOneJob(function, job) for job in jobs[1:]]
        params = jobs[0].getFunctionParams()
        function(*params)
        return [jobs[0].getFunctionResult(params), *others]
""",
    "applier.py": """
from rios.parallel import jobmanager

class ApplierControls:
    numThreads, jobManagerType = 1, None

    def setNumThreads(self, number):
        self.numThreads = number

    def setJobManagerType(self, kind):
        self.jobManagerType = kind

class Job:
    def __init__(self, number, otherargs):
        self.number, self.otherargs = number, otherargs

    def prepareForPickling(self):
        return self

    def getFunctionParams(self):
        return (self.number, []) if self.otherargs is None else (self.number, [], self.otherargs)

    def getFunctionResult(self, params):
        return params[1]

def apply(function, infiles, outfiles, otherArgs=None, controls=None):
    controls, done = controls or ApplierControls(), 0
    kinds = {kind.jobMgrType: kind for kind in jobmanager.JobManager.__subclasses__()}
    manager = kinds[controls.jobManagerType](controls.numThreads) if controls.numThreads > 1 else None
    while done < 9:
        tiles = [Job(number, otherArgs) for number in range(done, min(9, done + controls.numThreads))]
        done += len(tiles)
        if manager is None:
            function(*tiles[0].getFunctionParams())
            continue
        jobs = manager.startAllJobs(function, tiles)
        manager.waitOnJobs(jobs)
        outfiles.extend(manager.gatherAllOutputs(jobs))
    if manager is not None:
        manager.finalise()
""",
}
"""The parts of RIOS 1.4 that `apply` uses. It has nine tiles, and gathers the outputs of jobs in a list."""

SCRIPT = """
import logging
from rios import applier

class Actions(logging.Handler):
    def emit(self, record):
        print("action", getattr(record, "action", None), flush=True)

class Other:
    total = 0

def squared(number, outputs, *others):
    outputs.append(number * number)
    for other in others:
        other.total += number

logging.getLogger("asyncbatch").addHandler(Actions())
gathered, other, controls = [], Other(), applier.ApplierControls()
{}
print(gathered, other.total)
"""


def run_with_fake_rios(folder: Path, line: str, *words: str) -> tuple[str, list[tuple[str, str]]]:
    """Run a script with the fake RIOS; return its output, and the numbers in the last line."""
    for name, text in RIOS.items():
        file = folder / "fake" / "rios" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (folder / "script.py").write_text(SCRIPT.format(line))
    path = os.pathsep.join([str(folder / "fake"), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "asyncbatch.cli", "run", "--local", "--workers", "2", *words, "script.py"]
    done = subprocess.run(
        command, cwd=folder, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, re.findall(r"^asyncbatch: (\d+) tiles .* (\d+) by main$", done.stderr, re.MULTILINE)


CALL = "applier.apply(squared, None, gathered, other, controls)"
ALL = str([[number * number] for number in range(9)])


@pytest.mark.skipif(find_spec("osgeo") is None, reason="GDAL is not installed")
@pytest.mark.parametrize(
    ("line", "words", "out", "counts"),
    [
        (CALL, [], f"{ALL} 36\n", [("9", "0")]),
        (f"controls.setNumThreads(1); {CALL}", [], f"{ALL} 36\n", [("9", "0")]),
        (f"other.seen = set(); {CALL}; {CALL}", [], f"{ALL[:-1]}, {ALL[1:]} 72\n", [("18", "0")]),
        (CALL, ["--respect-script"], "[] 36\naction no_tiles_on_workers\n", [("0", "9")]),
        ("pass", [], "[] 0\naction no_tiles_on_workers\n", []),
        (
            f"controls.setNumThreads(3); controls.setJobManagerType('AWSBatch'); {CALL}",
            ["--respect-script"],
            f"action otherargs_not_returned\n{ALL} {0 + 3 + 6}\n",
            [("6", "3")],
        ),
    ],
)
def test_last_line_counts_tiles_of_workers_and_main(
    tmp_path: Path, line: str, words: list[str], out: str, counts: list[tuple[str, str]]
) -> None:
    assert run_with_fake_rios(tmp_path, line, *words) == (out, counts)

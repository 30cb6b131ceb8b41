"""Tests of ``asyncbatch apply --local``, which starts an endpoint and workers and leaves nothing behind."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from osgeo import gdal

from tests.integration.eventually import eventually
from tests.integration.team import MARK, processes

USER_FILE = """
import os
import threading
from helper import double_array

def double(info, inputs, outputs, other):
    print("block", info.getBlockCount())
    outputs.result = double_array(inputs.image) + other.more

os.environ["FACTOR"] = "2"

def change_state(info, inputs, outputs):
    outputs.result = inputs.image * inputs.image.dtype.type(os.environ["FACTOR"]) + len(open("offset").read())
    os.environ["FACTOR"] = "0"
    os.chdir("/")

def fail(info, inputs, outputs):
    raise ValueError("no good")

def use_lock(info, inputs, outputs):
    outputs.result = LOCK

def wait(info, inputs, outputs):
    with open("fifo", "w") as fifo:
        fifo.write("waiting")
    while True:
        os.read(os.open("never", os.O_RDONLY), 1)

LOCK = threading.Lock()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder in which workers do not find the code by themselves."""
    gdal.UseExceptions()
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "user.py").write_text(USER_FILE)
    (tmp_path / "code" / "helper.py").write_text("def double_array(array): return array + array")
    dataset = gdal.GetDriverByName("GTiff").Create(str(tmp_path / "in.tif"), 100, 130, 1, gdal.GDT_Byte)
    dataset.WriteArray(np.random.default_rng(3).integers(0, 100, (1, 130, 100)).astype(np.uint8))
    del dataset
    (tmp_path / "out").mkdir()
    return tmp_path


def start_apply(folder: Path, function: str, *more: str) -> "subprocess.Popen[str]":
    start = [sys.executable, "-m", "asyncbatch.cli", "apply", f"code/user.py:{function}", "--local", "--window", "64"]
    return subprocess.Popen(
        [*start, "--in", "image=in.tif", "--out", "result=out/out.tif", *more],
        cwd=folder,
        env=os.environ | {MARK: folder.name},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def is_clean(folder: Path) -> bool:
    return not processes(folder.name)


def test_tiles_see_the_folder_and_environment_of_the_command(folder: Path) -> None:
    (folder / "offset").write_text("123")
    with start_apply(folder, "change_state") as process:
        _, reported = process.communicate()
    assert process.returncode == 0, reported
    image, result = (gdal.Open(str(folder / name)).ReadAsArray() for name in ("in.tif", "out/out.tif"))
    assert np.array_equal(result, image * 2 + 3)


def test_apply_writes_the_output_and_reports_progress(folder: Path) -> None:
    with start_apply(folder, "double", "--other", "more=1") as process:
        out, reported = process.communicate()
    assert (process.returncode, out) == (0, ""), reported
    lines = reported.splitlines()
    assert lines[0].startswith("0/6 tiles, ")
    assert lines[-2].startswith("6/6 tiles")
    run, _, summary = lines[-1].removeprefix("run ").partition(": ")
    assert re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]+", run)
    assert summary.startswith("6 of 6 tiles done")
    [requests] = re.findall(r" (\d+) requests", summary)
    assert int(requests) > 6
    assert "out/out.tif" in summary
    assert re.search(r"\d+ MiB", summary)
    assert sorted(line[len("worker 0: ") :] for line in lines if line.startswith("worker ")) == [
        f"block ({x}, {y})" for x in range(2) for y in range(3)
    ]
    wanted = 1 + 2 * gdal.Open(str(folder / "in.tif")).ReadAsArray()
    np.testing.assert_array_equal(gdal.Open(str(folder / "out" / "out.tif")).ReadAsArray(), wanted)
    assert [entry.name for entry in (folder / "out").iterdir()] == ["out.tif"]
    eventually(lambda: is_clean(folder))


@pytest.mark.parametrize(
    ("function", "why"),
    [
        ("fail", "tile 0 (window x=0 y=0 64×64 pixels) failed on worker "),  # noqa: RUF001 - a multiplication sign
        ("use_lock", "use_lock can't be sent to workers: fn uses the global 'LOCK', which (a lock)"),
    ],
)
def test_failing_function_is_reported_in_one_line(function: str, why: str, folder: Path) -> None:
    with start_apply(folder, function) as process:
        _out, reported = process.communicate()
    assert process.returncode == 1
    (line,) = [line for line in reported.splitlines() if line.startswith("asyncbatch: error: ")]
    assert line.startswith(f"asyncbatch: error: {why}")
    assert list((folder / "out").iterdir()) == []
    eventually(lambda: is_clean(folder))


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=str)
def test_signal_leaves_nothing_behind(number: signal.Signals, status: int, folder: Path) -> None:
    os.mkfifo(folder / "fifo")
    os.mkfifo(folder / "never")
    with start_apply(folder, "wait") as process:
        assert (folder / "fifo").read_text().startswith("waiting")
        process.send_signal(number)
        _out, reported = process.communicate()
    assert process.returncode == status
    assert "Traceback" not in reported
    assert list((folder / "out").iterdir()) == []
    eventually(lambda: is_clean(folder))

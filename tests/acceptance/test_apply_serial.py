# ruff: noqa: RUF001 - the multiplication sign is intended
"""Tests of ``asyncbatch apply --serial``, which needs neither AWS nor workers."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from osgeo import gdal

from asyncbatch.raster.plan import EDGES

USER_FILE = """
import os
import resource
import sys
import numpy as np
from helper import double_array

def double(info, inputs, outputs):
    outputs.result = double_array(inputs.image)

def add(info, inputs, outputs, other):
    outputs.result = inputs.image + np.uint8(other.amount)
    assert other.word == "some text"

def fail(info, inputs, outputs):
    outputs.result = inputs.image
    if info.getBlockCount() == (1, 2):
        raise ValueError("no good")

def misspell(info, inputs, outputs):
    outputs.resutl = inputs.image

def use_2d(info, inputs, outputs):
    outputs.result = inputs.image[0]

def shift(info, inputs, outputs):
    outputs.result = np.roll(inputs.image, (2, 2), (1, 2))

def wait(info, inputs, outputs):
    outputs.result = inputs.image
    if info.getBlockCount() == (1, 2):
        print("waiting", flush=True)
        sys.stdin.read()

def fill_disk(info, inputs, outputs):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(os.environ["LIMIT"]), resource.RLIM_INFINITY))
    x, y = info.getBlockCount()
    outputs.result = inputs.image
    outputs.noise = np.random.default_rng(x + 100 * y).random((4, *inputs.image.shape[1:]))

NUMBER = 5
"""

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with the user's files and an image of 100 by 130 pixels, tiled by 64 on request."""
    gdal.UseExceptions()
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "user.py").write_text(USER_FILE)
    (tmp_path / "code" / "helper.py").write_text("def double_array(array): return array + array")
    dataset = gdal.GetDriverByName("GTiff").Create(str(tmp_path / "in.tif"), 100, 130, 1, gdal.GDT_Byte)
    dataset.SetGeoTransform((300_000.0, 30.0, 0.0, 4_500_000.0, 0.0, -30.0))
    dataset.WriteArray(np.random.default_rng(3).integers(0, 100, (1, 130, 100)).astype(np.uint8))
    del dataset
    (tmp_path / "out").mkdir()
    return tmp_path


def command(function: str, *more: str) -> list[str]:
    start = [sys.executable, "-m", "asyncbatch.cli", "apply", f"code/user.py:{function}", "--serial", "--window", "64"]
    return [*start, "--in", "image=in.tif", "--out", "result=out/out.tif", *more]


@pytest.fixture
def run(folder: Path) -> Run:
    def run_command(function: str, *more: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command(function, *more),
            cwd=folder,
            env=os.environ | environment,
            check=False,
            capture_output=True,
            text=True,
        )

    return run_command


def read(path: Path) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    array: np.ndarray[tuple[int, ...], np.dtype[np.uint8]] = gdal.Open(str(path)).ReadAsArray()
    return array


def test_apply_writes_the_output_and_reports_progress(run: Run, folder: Path) -> None:
    ended = run("double")
    assert (ended.returncode, ended.stdout) == (0, "")
    first, *_between, last = ended.stderr.splitlines()
    assert first == "0/6 tiles"
    assert re.match(r"6 of 6 tiles done, 0 failed, \d:\d\d elapsed, .*; wrote out/out.tif$", last)
    np.testing.assert_array_equal(read(folder / "out" / "out.tif"), 2 * read(folder / "in.tif"))
    assert [entry.name for entry in (folder / "out").iterdir()] == ["out.tif"]


def test_quiet_omits_progress_and_summary(run: Run) -> None:
    ended = run("double", "--quiet")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_quiet_still_prints_errors(run: Run) -> None:
    ended = run("fail", "-q")
    assert ended.returncode == 1
    assert ended.stderr.startswith("asyncbatch: error: tile 5 ")


def test_summary_counts_failures_before_the_error_is_printed(run: Run) -> None:
    lines = run("fail").stderr.splitlines()
    (error,) = [index for index, line in enumerate(lines) if line.startswith("asyncbatch: error: ")]
    assert re.match(
        r"[0-5] of 6 tiles done, 1 failed \(1 ValueError\), \d:\d\d elapsed.*; nothing written$", lines[error - 1]
    )


def test_function_receives_other_values(run: Run, folder: Path) -> None:
    assert run("add", "--other", "amount=3", "--other", "word=some text").returncode == 0
    np.testing.assert_array_equal(read(folder / "out" / "out.tif"), 3 + read(folder / "in.tif"))


def test_file_has_the_requested_format_and_options(run: Run, folder: Path) -> None:
    assert run("double", "--nodata", "result=7", "--co", "COMPRESS=DEFLATE", "--format", "GTiff").returncode == 0
    dataset = gdal.Open(str(folder / "out" / "out.tif"))
    assert dataset.GetRasterBand(1).GetNoDataValue() == 7
    assert dataset.GetMetadataItem("COMPRESSION", "IMAGE_STRUCTURE") == "DEFLATE"


@pytest.mark.parametrize(
    ("function", "more", "why"),
    [
        ("double", ("--in", "image=gone.tif"), "input 'image[1]': can't open gone.tif: No such file or directory"),
        ("double", ("--in", "mask=code/user.py"), "input 'mask': can't open code/user.py: "),
        ("double", ("--out", "more=gone/out.tif"), "output 'more': can't write "),
        ("double", ("--out", "more=in.tif"), "output 'more': "),
        ("double", ("--format", "PNG"), "output out/out.tif: format PNG can't be written tile by tile"),
        ("double", ("--co", "COMPRESS"), "the creation option 'COMPRESS' is not of the form KEY=VALUE"),
        ("double", ("--co", "COMPRESS=LZZW"), "output out/out.tif: format GTiff does not accept"),
        ("gone", (), "no function gone in code/user.py. Functions in the file: add, double, fail, "),
        ("NUMBER", (), "NUMBER in code/user.py is not a function but of type int"),
        ("misspell", (), "tile 0 (window x=0 y=0 64×64 pixels): output 'result' was not set; the function set: 'resu"),
        ("use_2d", (), "tile 0 (window x=0 y=0 64×64 pixels): output 'result' has shape (64, 64); expected (bands, 64"),
        ("add", (), "tile 0 (window x=0 y=0 64×64 pixels) failed on worker main, attempt 1: TypeError: add() missing "),
    ],
)  # fmt: skip
def test_bad_input_is_reported_clearly(function: str, more: tuple[str, ...], why: str, run: Run, folder: Path) -> None:
    ended = run(function, *more)
    assert ended.returncode == 1
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("asyncbatch: error: ")]
    assert line.startswith(f"asyncbatch: error: {why}")
    assert list((folder / "out").iterdir()) == []


@pytest.mark.parametrize("edge", EDGES)
def test_edge_option_fills_margins_beyond_the_edge(edge: str, run: Run, folder: Path) -> None:
    assert run("shift", "--overlap", "2", "--edge", edge).returncode == 0
    mode: Any = "symmetric" if edge == "reflect" else "edge"
    wanted = np.pad(read(folder / "in.tif"), 2, mode=mode)[:-4, :-4]
    np.testing.assert_array_equal(read(folder / "out" / "out.tif"), wanted)


def test_gdal_warnings_are_shown_once(run: Run) -> None:
    ended = run("double", "--co", "COMPRESS=DEFLATE", "--co", "ZLEVEL=99")
    assert ended.returncode == 0
    shown = [line for line in ended.stderr.splitlines() if "tiles" not in line]
    assert shown == ["asyncbatch: warning: GDAL: ZLEVEL=99 value not recognised, ignoring."]


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (("--in", "image"), "argument --in: 'image' is not of the form NAME=VALUE"),
        (("--other", "a=1", "--other", "a=2"), "'a' is passed twice"),
        (("--nodata", "much"), "'much' is not a number"),
        (("--window", "0"), "argument --window: 0 is too small; it must be 1 or more"),
        (("--overlap", "-1"), "argument --overlap: -1 is too small; it must be 0 or more"),
        (("--local",), "argument --local: not allowed with argument --serial"),
        (("--stackname", "mine"), "--stackname and --region can't be used with --local or --serial"),
        (("--resume",), "--resume can't be used with --serial"),
    ],
)
def test_usage_errors_and_failures_have_different_exit_codes(more: tuple[str, ...], why: str, run: Run) -> None:
    ended = run("double", *more)
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1] == f"asyncbatch apply: error: {why}"


def test_missing_file_is_reported(folder: Path) -> None:
    ended = subprocess.run(
        [*command("double")[:4], "gone.py:double", *command("double")[5:]],
        cwd=folder, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert ended.returncode == 1
    assert ended.stderr == f"asyncbatch: error: file {folder / 'gone.py'} not found\n"


def test_error_of_a_function_is_shown_with_its_traceback(run: Run, folder: Path) -> None:
    ended = run("fail")
    assert ended.returncode == 1
    reported = ended.stderr[ended.stderr.index("asyncbatch: error: ") :].splitlines()
    assert reported[0] == (
        "asyncbatch: error: tile 5 (window x=64 y=128 36×2 pixels) failed on worker main, attempt 1: "
        "ValueError: no good"
    )
    assert reported[1] == "Traceback (most recent call last):"
    assert reported[2].endswith("in fail")
    assert reported[-1] == "ValueError: no good"
    assert list((folder / "out").iterdir()) == []


@pytest.mark.parametrize("limit", [1, 10_000, 200_000, 415_000], ids=["immediately", "early", "midway", "at the end"])
def test_full_disk_is_reported(limit: int, run: Run, folder: Path) -> None:
    """A limit on file sizes simulates the full disk. GDAL notices either only when it writes or closes files."""
    (folder / "out" / "out.tif").write_text("earlier results")
    ended = run("fill_disk", "--out", "noise=out/noise.tif", LIMIT=str(limit))
    assert ended.returncode == 1
    # It may not be the last line: if coverage is measured, its data can't be written either.
    (reported,) = [line for line in ended.stderr.splitlines() if line.startswith("asyncbatch: error: ")]
    assert re.match(
        rf"asyncbatch: error: output '(result|noise)': can't write {folder}/out/(out|noise)\.tif: ", reported
    )
    assert reported.endswith(f" MB free in {folder / 'out'})")
    assert [entry.read_text() for entry in (folder / "out").iterdir()] == ["earlier results"]


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=str,
)
def test_signal_leaves_nothing_behind(number: signal.Signals, status: int, folder: Path) -> None:
    with subprocess.Popen(
        command("wait"), cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        assert [entry.suffix for entry in (folder / "out").iterdir()] == [".part"]
        process.send_signal(number)
        _out, reported = process.communicate()
    assert process.returncode == status
    assert "Traceback" not in reported
    assert list((folder / "out").iterdir()) == []


@contextmanager
def run_waiting_command(folder: Path) -> "Iterator[subprocess.Popen[str]]":
    """Run a computation that waits while it writes an output, until its stdin is closed."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command("wait"), cwd=folder, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        yield process


def test_next_computation_removes_files_of_a_killed_one(run: Run, folder: Path) -> None:
    with run_waiting_command(folder) as process:
        process.kill()
    [stale] = (folder / "out").iterdir()
    (folder / "out" / ".other.tif.abcdefgh.part").mkdir()
    ended = run("double")
    assert ended.returncode == 0
    assert f"removed {stale}" in ended.stderr
    assert {entry.name for entry in (folder / "out").iterdir()} == {"out.tif", ".other.tif.abcdefgh.part"}


def test_computation_keeps_files_of_a_running_one_with_the_same_output(run: Run, folder: Path) -> None:
    with run_waiting_command(folder) as process:
        [unfinished] = (folder / "out").iterdir()
        ended = run("double")
        assert ended.returncode == 0
        assert "removed" not in ended.stderr
        assert unfinished.is_dir()
        process.communicate()
    assert process.returncode == 0
    np.testing.assert_array_equal(read(folder / "out" / "out.tif"), read(folder / "in.tif"))
    assert [entry.name for entry in (folder / "out").iterdir()] == ["out.tif"]


QUIET = """
import sys
from osgeo import gdal

from asyncbatch.raster.plan import EDGES
from asyncbatch.raster import apply
before = gdal.GetUseExceptions()
apply(lambda _info, inputs, outputs: setattr(outputs, "result", inputs.image), {"image": "in.tif"}, {"result": "o.tif"})
assert gdal.GetUseExceptions() == before
"""


def test_apply_causes_no_gdal_warning_and_restores_gdal_settings(folder: Path) -> None:
    quiet = [sys.executable, "-W", "error", "-c", QUIET]
    ended = subprocess.run(quiet, cwd=folder, check=False, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")

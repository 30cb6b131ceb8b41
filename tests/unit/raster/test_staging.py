"""Tests of the temporary folder of an output: it is private, and removed after its process ends."""

import os
from pathlib import Path

import pytest

from asyncbatch.raster.staging import Staging


@pytest.fixture
def final(tmp_path: Path) -> Path:
    return tmp_path / "out.tif"


def make_stale_folder(final: Path) -> Path:
    """Create what a killed process leaves behind: its folder without a lock."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        staging = Staging(final)
        staging.path.write_text("incomplete raster")
        os.write(writing, os.fsencode(staging.path.parent))
        os._exit(0)
    os.waitpid(child, 0)
    folder = Path(os.fsdecode(os.read(reading, 4096)))
    os.close(reading)
    os.close(writing)
    assert folder.is_dir()
    return folder


def test_stale_folder_is_removed_and_reported(final: Path, caplog: pytest.LogCaptureFixture) -> None:
    stale = make_stale_folder(final)
    staging = Staging(final)
    assert not stale.exists()
    [record] = caplog.records
    assert (vars(record)["action"], vars(record)["path"]) == ("stale_part_removed", str(stale))
    staging.remove()
    assert list(final.parent.iterdir()) == []


def test_folders_of_running_processes_are_not_removed(final: Path) -> None:
    first, second = Staging(final), Staging(final)
    first.path.write_text("first")
    second.path.write_text("second")
    second.publish()
    first.publish()
    assert final.read_text() == "first"
    assert list(final.parent.iterdir()) == [final]


@pytest.mark.parametrize("name", ["out.tif.aux", "out", "other.tif", "xout.tif", "outxtif"])
def test_folders_of_other_outputs_are_not_removed(final: Path, name: str) -> None:
    stale = make_stale_folder(final.with_name(name))
    Staging(final).remove()
    assert stale.is_dir()


def test_folders_of_unknown_processes_are_not_removed(final: Path) -> None:
    """They are from an earlier version, or are just being created."""
    folder = final.with_name(".out.tif.abcdefgh.part")
    folder.mkdir()
    elsewhere = final.with_name("elsewhere")
    elsewhere.mkdir()
    final.with_name(".out.tif.12345678.part").symlink_to(elsewhere)
    Staging(final).remove()
    assert folder.is_dir()
    assert elsewhere.is_dir()


def test_output_is_written_without_support_for_locks(final: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_descriptor: int, _operation: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", refuse)
    first, second = Staging(final), Staging(final)
    for staging in (first, second):
        staging.path.write_text("whole")
        staging.sync()
        staging.publish()
    assert list(final.parent.iterdir()) == [final]

"""The folder in which an output grows: nobody else's, and gone with its process."""

import os
from pathlib import Path

import pytest

from asyncbatch.raster.staging import Staging


@pytest.fixture
def final(tmp_path: Path) -> Path:
    return tmp_path / "out.tif"


def left_by_killed_process(final: Path) -> Path:
    """Leave what a process leaves that is killed: its folder, and no lock."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        staging = Staging(final)
        staging.path.write_text("half a raster")
        os.write(writing, os.fsencode(staging.path.parent))
        os._exit(0)
    os.waitpid(child, 0)
    folder = Path(os.fsdecode(os.read(reading, 4096)))
    os.close(reading)
    os.close(writing)
    assert folder.is_dir()
    return folder


def test_a_stale_folder_is_removed_and_reported(final: Path, caplog: pytest.LogCaptureFixture) -> None:
    stale = left_by_killed_process(final)
    staging = Staging(final)
    assert not stale.exists()
    [record] = caplog.records
    assert (vars(record)["action"], vars(record)["path"]) == ("stale_part_removed", str(stale))
    staging.remove()
    assert list(final.parent.iterdir()) == []


def test_folders_of_processes_that_live_stay(final: Path) -> None:
    first, second = Staging(final), Staging(final)
    first.path.write_text("first")
    second.path.write_text("second")
    second.publish()
    first.publish()
    assert final.read_text() == "first"
    assert list(final.parent.iterdir()) == [final]


@pytest.mark.parametrize("name", ["out.tif.aux", "out", "other.tif", "xout.tif", "outxtif"])
def test_folders_of_other_outputs_stay(final: Path, name: str) -> None:
    stale = left_by_killed_process(final.with_name(name))
    Staging(final).remove()
    assert stale.is_dir()


def test_folders_whose_process_can_t_be_known_stay(final: Path) -> None:
    """Made by an earlier version, or just being made."""
    folder = final.with_name(".out.tif.abcdefgh.part")
    folder.mkdir()
    elsewhere = final.with_name("elsewhere")
    elsewhere.mkdir()
    final.with_name(".out.tif.12345678.part").symlink_to(elsewhere)
    Staging(final).remove()
    assert folder.is_dir()
    assert elsewhere.is_dir()


def test_an_output_is_written_where_locks_are_not_to_be_had(final: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_descriptor: int, _operation: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", refuse)
    first, second = Staging(final), Staging(final)
    for staging in (first, second):
        staging.path.write_text("whole")
        staging.sync()
        staging.publish()
    assert list(final.parent.iterdir()) == [final]

"""Tests of failed tiles on disk: they are limited in number, and not read if other users can write the files."""

import hashlib
import os
from pathlib import Path

import pytest

from asyncbatch import AsyncBatchError, SettingsError
from asyncbatch.cli import main
from asyncbatch.main.program import Program
from asyncbatch.main.storage import failed
from asyncbatch.main.storage.failed import FailedTiles, list_failed, read_failed
from asyncbatch.main.storage.statefolder import LIFE, locate_state_folder
from asyncbatch.main.storage.stored import list_stored


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def make_program(content: bytes = b"a program") -> Program:
    return Program(name="f", digest=hashlib.sha256(content).hexdigest(), content=content)


def test_stored_tile_is_read() -> None:
    tiles = FailedTiles("run-1")
    assert tiles.keep(7, make_program(), b"one\ntwo", "ValueError: no") == "asyncbatch replay run-1 7"
    tiles.keep(9, make_program(), bytearray(b"other"), "KeyError: 1")
    found = read_failed("run-1", 7)
    assert (found.error, bytes(found.payload), found.program.read_bytes()) == (
        "ValueError: no",
        b"one\ntwo",
        b"a program",
    )
    [run] = list_failed(0.0)
    assert (run.run, run.tiles) == ("run-1", [7, 9])
    folder = locate_state_folder("failed")
    assert len([*folder.rglob("*.program")]) == 1
    assert {path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in (folder.parent, folder, folder / "run-1")} == {0o700}


def test_number_of_stored_tiles_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failed, "_MOST", 2)
    monkeypatch.setattr(failed, "_MOST_BYTES", 1000)
    many, large = FailedTiles("many"), FailedTiles("large")
    assert [bool(many.keep(index, make_program(), b"x", "no")) for index in range(3)] == [True, True, False]
    assert not large.keep(0, make_program(bytes(900)), bytes(101), "no")
    assert large.keep(1, make_program(bytes(900)), bytes(100), "no")
    assert not large.keep(2, make_program(bytes(900)), bytes(1), "no")


@pytest.mark.parametrize(("run", "tile"), [("run-1", 8), ("run-2", 7), ("../failed/run-1", 7), ("", 7)])
def test_missing_tile_is_reported_with_the_stored_ones(run: str, tile: int) -> None:
    FailedTiles("run-1").keep(7, make_program(), b"payload", "no")
    with pytest.raises(SettingsError, match="not stored on this machine"):
        read_failed(run, tile)


@pytest.mark.parametrize("ending", ["tile", "program"])
@pytest.mark.parametrize("harm", ["damage", "mode", "link", "gone"])
def test_files_that_others_could_change_are_rejected(ending: str, harm: str, tmp_path: Path) -> None:
    FailedTiles("run-1").keep(7, make_program(), b"payload", "no")
    [file] = locate_state_folder("failed").rglob(f"*.{ending}")
    match harm:
        case "damage":
            file.write_bytes(file.read_bytes()[:-1])
        case "mode":
            file.chmod(0o664)
        case "link":
            file.rename(tmp_path / "elsewhere")
            file.symlink_to(tmp_path / "elsewhere")
        case "gone":
            file.unlink()
    with pytest.raises(AsyncBatchError):
        read_failed("run-1", 7)


def test_next_run_with_a_failed_tile_removes_old_ones() -> None:
    FailedTiles("old").keep(7, make_program(), b"payload", "no")
    for file in (locate_state_folder("failed") / "old").iterdir():
        os.utime(file, (0.0, 0.0))
    FailedTiles("new").keep(7, make_program(), b"payload", "no")
    assert [each.run for each in list_failed(0.0)] == ["new"]


def test_no_tiles_are_listed_without_a_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setattr(Path, "home", _raise)
    assert list_failed(0.0) == []
    assert list_stored(0.0) == []
    with pytest.raises(SettingsError, match="XDG_STATE_HOME"):
        FailedTiles("run-1").keep(7, make_program(), b"payload", "no")


def _raise() -> Path:
    raise RuntimeError("Could not determine home directory.")


def test_gc_removes_expired_failed_tiles(capsys: pytest.CaptureFixture[str]) -> None:
    for run in ("old", "new"):
        FailedTiles(run).keep(7, make_program(), b"payload", "no")
    for file in (locate_state_folder("failed") / "old").iterdir():
        os.utime(file, (0.0, 0.0))
    assert [each.expired for each in list_failed(LIFE + 1)] == [False, True]
    assert main(["gc", "--local", "--delete"]) == 0
    assert capsys.readouterr().out.startswith("removed old ")
    assert main(["runs", "--local"]) == 0
    assert capsys.readouterr().out.startswith("new ")

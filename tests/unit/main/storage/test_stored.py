"""Tests of the results that this machine stores, and of their expiry."""

import os
from pathlib import Path

import pytest

from asyncbatch.cli import main
from asyncbatch.main.storage.journal import Journal
from asyncbatch.main.storage.resumption import list_as_resumable, locate_journal
from asyncbatch.main.storage.statefolder import LIFE
from asyncbatch.main.storage.stored import list_stored


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def store(path: Path, title: str) -> Path:
    with Journal.open(path, title=title, parts={}) as journal:
        journal.record(bytes(32), b"result")
    return path


def test_results_are_listed_in_all_folders(tmp_path: Path) -> None:
    keyed, beside, gone = locate_journal("key"), tmp_path / ".out.tif.resume", tmp_path / ".gone.tif.resume"
    for path in (store(keyed, "map"), store(beside, "out.tif"), store(gone, "gone.tif")):
        list_as_resumable(path)
    gone.unlink()
    (keyed.parent / "other").write_text("something else")
    now = beside.stat().st_mtime + 10
    assert {(each.path, each.title, each.results) for each in list_stored(now)} == {
        (keyed, "map", 1),
        (beside, "out.tif", 1),
    }
    assert len([*keyed.parent.iterdir()]) == 4, "a link to a missing file is removed"


def test_results_of_a_running_computation_do_not_expire() -> None:
    path = store(locate_journal("key"), "map")
    later = path.stat().st_mtime + LIFE + 1
    with Journal.open(path, title="map", parts={}):
        assert [(each.in_use, each.expired) for each in list_stored(later)] == [(True, False)]
    assert [(each.in_use, each.expired) for each in list_stored(later)] == [(False, True)]


def test_gc_only_removes_expired_results(capsys: pytest.CaptureFixture[str]) -> None:
    old, new = store(locate_journal("old"), "old"), store(locate_journal("new"), "new")
    os.utime(old, (0.0, 0.0))
    assert main(["gc", "--local"]) == 0
    assert capsys.readouterr().out.startswith("would remove old ")
    assert old.exists()
    assert main(["gc", "--local", "--delete"]) == 0
    assert [old.exists(), new.exists()] == [False, True]
    assert main(["runs", "--local"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("new ")

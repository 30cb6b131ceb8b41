"""Tests of results on disk: they are read as they were stored, however main ended."""

import logging
import os
from pathlib import Path

import pytest

from asyncbatch import ResumeRefused
from asyncbatch.main.storage.journal import Journal

PARTS = {"function": "f", "other": "o"}
ONE, TWO, THREE = (bytes([number]) * 32 for number in (1, 2, 3))


def open_journal(path: Path, **parts: str) -> Journal:
    return Journal.open(path, title="out.tif", parts=PARTS | parts)


def find(journal: Journal, *digests: bytes) -> list[bytes | None]:
    found = map(journal.find, digests)
    return [None if each is None else bytes(each) for each in found]


def store(path: Path) -> bytes:
    """Store two results and return the file's content."""
    with open_journal(path) as journal:
        journal.record(ONE, b"one")
        journal.record(TWO, bytearray(1000))
    return path.read_bytes()


def test_stored_results_are_found(tmp_path: Path) -> None:
    store(tmp_path / "journal")
    with open_journal(tmp_path / "journal") as journal:
        assert len(journal) == 2
        assert find(journal, ONE, TWO, THREE) == [b"one", bytes(1000), None]
        journal.record(THREE, b"three")
    with open_journal(tmp_path / "journal") as journal:
        assert find(journal, THREE) == [b"three"]


def test_file_truncated_at_any_byte_has_all_earlier_results(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    whole = store(path)
    first = whole.index(b"one") + 3
    ends = [
        0,
        1,
        whole.index(b"\n") + 1,
        first - 1,
        first,
        first + 1,
        first + 79,
        first + 80,
        first + 81,
        len(whole) - 1,
    ]
    for length in (*ends, *range(2, len(whole), 97)):
        path.write_bytes(whole[:length])
        with open_journal(path) as journal:
            assert find(journal, ONE) == [b"one" if length >= first else None], length
            assert journal.find(TWO) is None
            journal.record(THREE, b"three")
        with open_journal(path) as journal:
            assert find(journal, THREE) == [b"three"], length


def test_zeros_at_the_end_are_removed(tmp_path: Path) -> None:
    """After a power failure, a file may end with zeros that were never written."""
    path = tmp_path / "journal"
    whole = store(path)
    path.write_bytes(whole + bytes(5000))
    with open_journal(path) as journal:
        assert len(journal) == 2
        assert path.stat().st_size == len(whole)
        journal.record(THREE, b"three")
    with open_journal(path) as journal:
        assert find(journal, THREE) == [b"three"]


def test_damaged_result_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "journal"
    path.write_bytes(store(path).replace(b"one", b"own"))
    with open_journal(path) as journal:
        assert journal.find(ONE) is None
        assert find(journal, TWO) == [bytes(1000)]
    assert [vars(record)["action"] for record in caplog.records] == ["journal_damaged"]


def test_results_of_another_computation_are_rejected_and_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    before = store(path)
    with pytest.raises(ResumeRefused, match="to another function and window;"):
        open_journal(path, function="g", window="64")
    assert path.read_bytes() == before
    open_journal(path).close()


@pytest.mark.parametrize("content", [b'{"format": 2}\n', b"GIF89a\n", b"[1]\n", bytes(70_000)])
def test_another_file_is_rejected_and_not_changed(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "journal"
    path.touch(mode=0o600)
    path.write_bytes(content)
    with pytest.raises(ResumeRefused):
        open_journal(path)
    assert path.read_bytes() == content


def test_second_process_is_rejected(tmp_path: Path) -> None:
    with open_journal(tmp_path / "journal") as journal:
        with pytest.raises(ResumeRefused, match="another process"):
            open_journal(tmp_path / "journal")
        journal.record(ONE, b"one")
    with open_journal(tmp_path / "journal") as journal:
        assert find(journal, ONE) == [b"one"]


@pytest.mark.parametrize("mode", [0o604, 0o620, 0o640])
def test_file_that_others_could_write_is_not_read(tmp_path: Path, mode: int) -> None:
    store(tmp_path / "journal")
    (tmp_path / "journal").chmod(mode)
    with pytest.raises(ResumeRefused, match=f"{mode:o}"):
        open_journal(tmp_path / "journal")


def test_file_of_another_user_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store(tmp_path / "journal")
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(ResumeRefused, match=f"user {owner}"):
        open_journal(tmp_path / "journal")


def test_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    store(tmp_path / "journal")
    (tmp_path / "link").symlink_to(tmp_path / "journal")
    with pytest.raises(ResumeRefused):
        open_journal(tmp_path / "link")


def test_new_file_is_private(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        store(tmp_path / "journal")
    finally:
        os.umask(mask)
    assert (tmp_path / "journal").stat().st_mode & 0o777 == 0o600


def test_full_disk_only_ends_storing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write, room = os.pwrite, [100]

    def write_some(descriptor: int, content: memoryview, offset: int) -> int:
        if not room[0]:
            raise OSError(28, "No space left on device")
        written = write(descriptor, content[: room[0]], offset)
        room[0] -= written
        return written

    with open_journal(tmp_path / "journal") as journal:
        journal.record(ONE, b"one")
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", write_some)
            journal.record(TWO, bytes(1000))
        journal.record(THREE, b"three")
    assert [vars(record)["action"] for record in caplog.records] == ["journal_failed"]
    with open_journal(tmp_path / "journal") as journal:
        assert find(journal, ONE, TWO, THREE) == [b"one", None, None]


def test_results_after_the_end_are_not_stored(tmp_path: Path) -> None:
    """Results arrive until the run is closed, even if their map has ended."""
    journal = open_journal(tmp_path / "journal")
    journal.close()
    journal.record(ONE, b"one")
    assert journal.find(ONE) is None
    journal = open_journal(tmp_path / "journal")
    journal.remove()
    journal.record(ONE, b"one")
    journal.remove()
    assert not (tmp_path / "journal").exists()


def test_all_descriptors_are_closed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    before = len(list(Path("/proc/self/fd").iterdir()))
    store(tmp_path / "journal")
    journal = open_journal(tmp_path / "journal")
    for _ in range(2):
        with pytest.raises(ResumeRefused):
            open_journal(tmp_path / "journal")
    del journal
    with pytest.raises(ResumeRefused):
        open_journal(tmp_path / "journal", function="g")
    assert len(list(Path("/proc/self/fd").iterdir())) == before

"""Tests of how main reads and prints the output of workers."""

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TextIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbatch.launchers.output import LineSplitter, StderrWriter, show_warnings

KEPT = 65536
"""Maximum number of characters that are held until the line ends."""


def split(content: bytes, size: int) -> list[str]:
    """Return the lines of a text that arrives in chunks of a size."""
    splitter = LineSplitter()
    lines = [line for start in range(0, len(content), size) for line in splitter.feed(content[start : start + size])]
    return lines + splitter.flush()


@given(text=st.text(max_size=200), size=st.integers(1, 50))
def test_lines_do_not_depend_on_chunks(text: str, size: int) -> None:
    expected = text.split("\n")
    assert split(text.encode(errors="replace"), size) == (expected if expected[-1] else expected[:-1])


@pytest.mark.parametrize("size", [17, 4096, 65536, 1_000_000])
@pytest.mark.parametrize(
    "content", [b"\r 17 %" * 60_000, bytes(range(128)).replace(b"\n", b"") * 3000, b"\xff" * 300_000]
)
def test_endless_line_is_split_into_parts(content: bytes, size: int) -> None:
    splitter, passed_on, came = LineSplitter(), 0, 0
    for start in range(0, len(content), size):
        chunk = content[start : start + size]
        came += len(chunk)
        passed_on += sum(len(part) for part in splitter.feed(chunk))
        assert came - passed_on <= KEPT
    assert passed_on + sum(len(part) for part in splitter.flush()) == len(content)


@pytest.mark.parametrize("size", [1, 3, 4096])
def test_multibyte_characters_can_be_split_between_chunks(size: int) -> None:
    text = "Gänse🪿 und Øre" * 2_000
    assert "".join(split(text.encode(), size)) == text


@pytest.mark.parametrize("ends", [1, 2])
def test_end_of_a_split_line_adds_no_empty_line(ends: int) -> None:
    splitter = LineSplitter()
    (part,) = splitter.feed(b"x" * (KEPT + 1))
    assert len(part) == KEPT + 1
    assert splitter.feed(b"\n" * ends + b"next\n") == [""] * (ends - 1) + ["next"]


@pytest.fixture
def pipe() -> Iterator[tuple[int, TextIO]]:
    """Return the read end of a pipe, and a stream to its write end."""
    ours, theirs = os.pipe()
    with os.fdopen(theirs, "w", encoding="utf-8") as stream, os.fdopen(ours, "rb", 0):
        yield ours, stream


def make_stderr(stream: TextIO | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace stderr; call it in the test, since pytest replaces stderr after the fixtures."""
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(sys, "__stderr__", stream)


def drain(descriptor: int) -> bytes:
    """Return the content of a pipe."""
    os.set_blocking(descriptor, False)
    found = b""
    while True:
        try:
            chunk = os.read(descriptor, 65536)
        except BlockingIOError:
            return found
        found += chunk


def test_lines_are_written_when_the_writer_is_closed(pipe: tuple[int, TextIO], monkeypatch: pytest.MonkeyPatch) -> None:
    make_stderr(pipe[1], monkeypatch)
    writer = StderrWriter()
    for number in range(1000):
        writer.write(f"line {number} ä")
    writer.close(10.0)
    assert drain(pipe[0]).decode().splitlines() == [f"line {number} ä" for number in range(1000)]


def test_blocked_stderr_drops_and_counts_lines(pipe: tuple[int, TextIO], monkeypatch: pytest.MonkeyPatch) -> None:
    make_stderr(pipe[1], monkeypatch)
    writer = StderrWriter(most=100_000)
    for _ in range(1000):
        writer.write("x" * 999)
    closer = threading.Thread(target=writer.close, args=(60.0,))
    closer.start()
    found = b""
    while closer.is_alive():
        found += drain(pipe[0])
    lines = (found + drain(pipe[0])).decode().splitlines()
    reports = [line.split(" ", 1) for line in lines if not line.startswith("x")]
    assert {report for _, report in reports} == {"lines of worker output were dropped"}
    assert sum(int(count) for count, _ in reports) + len(lines) - len(reports) == 1000


def test_number_of_dropped_lines_is_written_before_the_next_line(
    pipe: tuple[int, TextIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_stderr(pipe[1], monkeypatch)
    writer = StderrWriter(most=10)
    writer.write("x" * 20)
    writer.write("y")
    writer.close(10.0)
    assert drain(pipe[0]).decode().splitlines() == ["1 lines of worker output were dropped", "y"]


def test_close_does_not_wait_for_a_blocked_stderr(pipe: tuple[int, TextIO], monkeypatch: pytest.MonkeyPatch) -> None:
    make_stderr(pipe[1], monkeypatch)
    writer = StderrWriter()
    for _ in range(1000):
        writer.write("x" * 999)
    writer.close(0.1)
    assert len(drain(pipe[0])) < 1_000_000


def close_stream(pipe: tuple[int, TextIO], _monkeypatch: pytest.MonkeyPatch) -> None:
    pipe[1].close()


def close_reader(pipe: tuple[int, TextIO], _monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    os.dup2(theirs, pipe[1].fileno())
    os.close(theirs)


def remove_stream(_pipe: tuple[int, TextIO], monkeypatch: pytest.MonkeyPatch) -> None:
    make_stderr(None, monkeypatch)


@pytest.mark.parametrize("close", [close_stream, close_reader, remove_stream])
def test_closed_stderr_only_ends_the_writer(
    pipe: tuple[int, TextIO],
    monkeypatch: pytest.MonkeyPatch,
    close: Callable[[tuple[int, TextIO], pytest.MonkeyPatch], None],
) -> None:
    writer = StderrWriter()
    make_stderr(pipe[1], monkeypatch)
    close(pipe, monkeypatch)
    for _ in range(100):
        writer.write("x" * 999)
    writer.close(10.0)
    writer.write("this can't be read")
    assert [thread.name for thread in threading.enumerate() if thread.name == "asyncbatch-output"] == []


def test_replaced_stderr_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    class Notebook:
        def __init__(self) -> None:
            self.text = ""

        def write(self, text: str) -> None:
            self.text += text

    notebook = Notebook()
    monkeypatch.setattr(sys, "stderr", notebook)
    writer = StderrWriter()
    writer.write("a")
    writer.write("b")
    writer.close(10.0)
    assert notebook.text == "a\nb\n"


def unconfigure(monkeypatch: pytest.MonkeyPatch) -> logging.Logger:
    """Return the root logger without pytest's handlers."""
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    return root


@pytest.mark.anyio
async def test_warnings_of_several_pools_are_shown_once(
    pipe: tuple[int, TextIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_stderr(pipe[1], monkeypatch)
    unconfigure(monkeypatch)
    log = logging.getLogger("asyncbatch.main.scheduler")
    async with show_warnings():
        async with show_warnings():
            log.info("not this")
            log.warning("of %d pools", 2)
        log.warning("of one pool")
    assert drain(pipe[0]) == b"of 2 pools\nof one pool\n"


@pytest.mark.anyio
async def test_warnings_only_go_to_the_handlers_of_the_user_if_any(
    pipe: tuple[int, TextIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_stderr(pipe[1], monkeypatch)
    records: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record.getMessage())

    unconfigure(monkeypatch).addHandler(Handler())
    async with show_warnings():
        logging.getLogger("asyncbatch.main.scheduler").warning("for the user")
    assert (records, drain(pipe[0])) == (["for the user"], b"")


@pytest.mark.anyio
async def test_warning_with_a_closed_stderr_does_not_fail(
    pipe: tuple[int, TextIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_stderr(pipe[1], monkeypatch)
    unconfigure(monkeypatch)
    pipe[1].close()
    async with show_warnings():
        logging.getLogger("asyncbatch.main.scheduler").warning("this can't be read")

"""Makes hanging tests fail with the stacks of all their processes, so that the next tests can run.

Each of a test's phases (setup, call, teardown) has a limit, by its folder or by ``@pytest.mark.limit(seconds)``, which
can lower the limit of the call only. Time in which processes of this machine wait for a processor does not count, up to
a multiple of the limit.

The stacks of other processes are written by `faulthandler`, which `tests/stacks/sitecustomize.py` registers. Processes
of tests therefore need PYTHONPATH and `VARIABLE` in their environment, which they inherit or get from `variables()`.
"""

import asyncio
import contextlib
import faulthandler
import gc
import os
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from types import FrameType
from typing import Final

import pytest

VARIABLE: Final = "STACKS_OF_TESTS"
"""Variable with the folder to which processes write their stacks. It also marks them as processes of this run."""

_LIMITS: Final = {"unit": 60.0, "containers": 900.0}
"""Time limit of a phase in seconds, by folder of tests."""
_LIMIT: Final = 120.0
"""Time limit for other folders."""
_MOST: Final = 5
"""Factor by which a phase may exceed its limit on a busy machine."""
_AGAIN: Final = 10.0
"""Seconds until a test is interrupted again if it continues."""
_ANSWER: Final = 10.0
"""Maximum number of seconds for processes to write their stacks."""
_SETTLED: Final = 0.3
"""Seconds without further output after which stacks are considered complete."""

_NAME: Final = "watchdog of tests"
_STACKS: Final = Path(__file__).parent / "stacks"


class HangingError(BaseException):
    """Interrupts a test. It is not an `Exception`, since code under test handles those."""


def variables() -> dict[str, str]:
    """Return the environment variables with which a process writes its stacks for the watchdog."""
    return {name: os.environ[name] for name in (VARIABLE, "PYTHONPATH") if name in os.environ}


def register_watchdog(config: pytest.Config) -> None:
    """Register the watchdog with pytest, once."""
    if not config.pluginmanager.has_plugin(_NAME):
        config.pluginmanager.register(Watchdog(), _NAME)


class Watchdog:
    """The plugin of pytest."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="stacks-of-tests-"))
        self._patch = pytest.MonkeyPatch()
        self._patch.setenv(VARIABLE, str(self._folder))
        self._patch.setenv("PYTHONPATH", str(_STACKS), prepend=os.pathsep)

    def pytest_unconfigure(self) -> None:
        self._patch.undo()
        shutil.rmtree(self._folder, ignore_errors=True)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, None, None]:
        with self._limited(item, "setup", max(_folder_limit(item), _limit(item))):
            yield

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, None, None]:
        with self._limited(item, "call", _limit(item)):
            yield

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, None, None]:
        with self._limited(item, "teardown", max(_folder_limit(item), _limit(item))):
            yield

    def pytest_enter_pdb(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)

    @contextlib.contextmanager
    def _limited(self, item: pytest.Item, when: str, limit: float) -> Iterator[None]:
        """Interrupt the block repeatedly when it exceeds the limit; fail even if it then ends normally."""
        started, stalled = time.monotonic(), _read_stalled()
        expired = False

        def expire(_number: int, _frame: FrameType | None) -> None:
            __tracebackhide__ = True
            nonlocal expired
            allowed = limit + min(_read_stalled() - stalled, (_MOST - 1) * limit)
            left = started + allowed - time.monotonic()
            if left > 0:
                signal.setitimer(signal.ITIMER_REAL, left, _AGAIN)
                return
            if not expired:
                expired = True
                item.add_report_section(when, "stacks", collect_stacks(self._folder))
            raise HangingError(f"{item.nodeid}: {when} takes more than {limit:g} s")

        before = signal.signal(signal.SIGALRM, expire)
        signal.setitimer(signal.ITIMER_REAL, limit, _AGAIN)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        if expired:
            raise HangingError(f"{item.nodeid}: {when} took more than {limit:g} s")


def collect_stacks(folder: Path) -> str:
    """Return the stacks of all threads of this process, and of all others that it or its tests started."""
    own = os.getpid()
    others = sorted(_find_descendants(own) | _find_marked(folder) - {own})
    starts = {process: _size(folder, process) for process in (own, *others)}
    with (folder / str(own)).open("ab") as file:
        faulthandler.dump_traceback(file)
    asked = [process for process in others if _handles(process, signal.SIGUSR1)]
    for process in asked:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGUSR1)
    _wait_until_written(folder, {process: starts[process] for process in asked})
    found = [_describe(folder, process, start) for process, start in starts.items()]
    found.insert(1, _describe_tasks())
    return "\n".join(found)


def _wait_until_written(folder: Path, starts: dict[int, int]) -> None:
    """Wait until files have grown and no longer grow; a forked process writes to its parent's file."""
    deadline = time.monotonic() + _ANSWER
    writing = [process for process in starts if (folder / str(process)).exists()]
    last, since = -1, time.monotonic()
    while (now := time.monotonic()) < deadline:
        sizes = {process: _size(folder, process) for process in writing}
        if sum(sizes.values()) != last:
            last, since = sum(sizes.values()), now
        if all(sizes[process] > starts[process] for process in writing) and now - since > _SETTLED:
            return
        time.sleep(0.05)


def _describe(folder: Path, process: int, start: int) -> str:
    """Return a description of a process, and its stacks after a position in its file."""
    place = Path("/proc") / str(process)
    command, status, stacks = "has ended", "", "(no stacks)"
    with contextlib.suppress(OSError):
        name = (place / "comm").read_text().strip()  # a forked process has its parent's command
        command = f"{name} " + (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        status = (place / "status").read_text()
    with contextlib.suppress(OSError):
        stacks = _join_equal((folder / str(process)).read_bytes()[start:].decode(errors="replace"))
    state, parent = (
        found[1] if (found := re.search(rf"{name}:\s+(.+)", status)) else "?" for name in ("State", "PPid")
    )
    return f"== process {process}, parent {parent}, {state}: {command}\n{stacks}"


def _describe_tasks() -> str:
    """Return where each task of this process's event loops waits, which stacks of threads do not show."""
    found = []
    for task in gc.get_objects():
        if type(task) is asyncio.Task and not task.done():
            lines = [f"Task {task.get_name()} (most recent call last):"]
            awaited: object = task.get_coro()
            while frame := getattr(awaited, "cr_frame", None):
                lines.append(f'  File "{frame.f_code.co_filename}", line {frame.f_lineno} in {frame.f_code.co_name}')
                awaited = getattr(awaited, "cr_await", None)
            found.append("\n".join(lines) + "\n")
    return "\n".join(found)


def _join_equal(text: str) -> str:
    """Return the stacks of threads; equal ones are combined, with their number."""
    heads: dict[str, list[str]] = {}
    for stack in text.strip().split("\n\n"):
        head, _, frames = stack.partition("\n")
        heads.setdefault(frames, []).append(head)
    return "\n".join(
        f"{found[0]}{f' [{len(found)} threads]' if len(found) > 1 else ''}\n{frames}\n"
        for frames, found in heads.items()
    )


def _limit(item: pytest.Item) -> float:
    marker = item.get_closest_marker("limit")
    return float(marker.args[0]) if marker else _folder_limit(item)


def _folder_limit(item: pytest.Item) -> float:
    return next((_LIMITS[folder] for folder in item.path.parts if folder in _LIMITS), _LIMIT)


def _read_stalled() -> float:
    """Return the seconds for which processes of this machine have waited for a processor; 0 if unknown."""
    with contextlib.suppress(OSError):
        found = re.search(r"some .*total=(\d+)", Path("/proc/pressure/cpu").read_text())
        return int(found[1]) / 1e6 if found else 0.0
    return 0.0


def _size(folder: Path, process: int) -> int:
    with contextlib.suppress(OSError):
        return (folder / str(process)).stat().st_size
    return 0


def _find_marked(folder: Path) -> set[int]:
    """Return the processes of this run by their environment, whatever their parents are."""
    mark = f"{VARIABLE}={folder}".encode()
    found = set()
    for process in _processes():
        with contextlib.suppress(OSError):
            if mark in Path(f"/proc/{process}/environ").read_bytes().split(b"\0"):
                found.add(process)
    return found


def _find_descendants(ancestor: int) -> set[int]:
    """Return all descendants of a process, whatever their environment is."""
    children: dict[int, list[int]] = {}
    for process in _processes():
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{process}/status").read_text()
            children.setdefault(int(re.findall(r"PPid:\s+(\d+)", status)[0]), []).append(process)
    found, waiting = set[int](), [ancestor]
    while waiting:
        more = children.get(waiting.pop(), [])
        found.update(more)
        waiting.extend(more)
    return found


def _handles(process: int, number: signal.Signals) -> bool:
    """Return whether a process has a handler for a signal, which would otherwise kill it."""
    with contextlib.suppress(OSError):
        caught = re.findall(r"SigCgt:\s+([0-9a-f]+)", Path(f"/proc/{process}/status").read_text())
        return bool(int(caught[0], 16) >> (number - 1) & 1)
    return False


def _processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - names are what is wanted

"""The memory of a slot's process: its peak, its limit, and kills for lack of memory."""

import contextlib
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_STATUS: Final = Path("/proc/self/status")
_CLEAR: Final = "/proc/self/clear_refs"
_RESET_PEAK: Final = b"5"
"""Value to write to reset a process's peak to its current memory, on Linux 4.0 and later."""

_SCORE: Final = Path("/proc/self/oom_score_adj")
_MORE_LIKELY: Final = 500
"""A score, out of 1000, so that the kernel kills a slot rather than the worker or other processes."""

_GROUPS: Final = Path("/sys/fs/cgroup")


def prefer_as_victim() -> None:
    """Make the kernel kill this process rather than others when memory runs out."""
    with contextlib.suppress(OSError, ValueError):
        _SCORE.write_text(str(min(1000, int(_SCORE.read_text()) + _MORE_LIKELY)))


def limit_memory(size: int) -> None:
    """Limit this process's private memory to `size` bytes more than now; exceeding it raises `MemoryError`.

    Data, heap and private writable mappings count, including programs; shared libraries do not.
    """
    most = _read_status("VmData") + size
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def reset_peak() -> None:
    """Reset this process's peak to its current memory. It is called before each tile, so it is fast."""
    with contextlib.suppress(OSError):
        file = os.open(_CLEAR, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(file, _RESET_PEAK)
        finally:
            os.close(file)


def read_peak() -> int:
    """Return this process's peak memory since `reset_peak` in bytes.

    It must have been forked, and not execute another program: the kernel includes the peak before that.
    """
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def find_oom_counter(groups: Path = _GROUPS, process: Path = Path("/proc")) -> Path | None:
    """Return the file with the number of processes killed for lack of memory; None if there is none.

    It is that of this process's control group; on a machine without control groups, that of the whole machine.

    Parameters
    ----------
    groups : Path
        Mount point of control groups.
    process : Path
        Mount point of ``/proc``.
    """
    return next((path for path in _list_counters(groups, process) if read_oom_kills(path) is not None), None)


def read_oom_kills(counter: Path | None) -> int | None:
    """Return the number in a file that `find_oom_counter` has found; None if it is not known."""
    if counter is None:
        return None
    with contextlib.suppress(OSError, ValueError):
        for line in counter.read_text().splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
    return None


def _list_counters(groups: Path, process: Path) -> Iterator[Path]:
    """Yield the files that may have the count, most specific first."""
    with contextlib.suppress(OSError):
        for line in (process / "self" / "cgroup").read_text().splitlines():
            _, names, path = line.split(":", 2)
            if not names:
                yield groups / path.lstrip("/") / "memory.events"
            elif "memory" in names.split(","):
                yield groups / "memory" / path.lstrip("/") / "memory.oom_control"
    # In a container, its own group may be mounted at the root.
    yield groups / "memory.events"
    yield groups / "memory" / "memory.oom_control"
    yield process / "vmstat"


def _read_status(name: str) -> int:
    """Return a value of ``/proc/self/status`` in bytes; 0 if it is missing."""
    with contextlib.suppress(OSError, ValueError):
        for line in _STATUS.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return 0

"""The memory of a slot's process: its peak, its limit, and whether the kernel has killed it for lack of memory."""

import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_STATUS: Final = Path("/proc/self/status")
_CLEAR: Final = Path("/proc/self/clear_refs")
_RESET_PEAK: Final = b"5"
"""Written there, it sets a process's peak to what it takes now: Linux 4.0 and later."""

_SCORE: Final = Path("/proc/self/oom_score_adj")
_MORE_LIKELY: Final = 500
"""Of 1000: what makes the kernel kill a slot, and not the worker or what else runs on the machine."""

_GROUPS: Final = Path("/sys/fs/cgroup")


def prefer_as_victim() -> None:
    """Have the kernel kill this process rather than others when memory runs out."""
    with contextlib.suppress(OSError, ValueError):
        _SCORE.write_text(str(min(1000, int(_SCORE.read_text()) + _MORE_LIKELY)))


def limit_memory(size: int) -> None:
    """Let this process take `size` more bytes of private memory than it has now; what goes beyond is a `MemoryError`.

    Counted are data, heap and private mappings that can be written to, programs among them, and no shared libraries.
    """
    most = _read_status("VmData") + size
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def reset_peak() -> None:
    """Set this process's peak to what it has now."""
    with contextlib.suppress(OSError):
        _CLEAR.write_bytes(_RESET_PEAK)


def read_peak() -> int:
    """Return the most bytes of memory that this process has had at one time since `reset_peak`; 0: not known."""
    return _read_status("VmHWM")


def find_oom_counter(groups: Path = _GROUPS, process: Path = Path("/proc")) -> Path | None:
    """Return the file with the number of processes killed for lack of memory; None if there is none.

    It is that of this process's control group; on a machine without control groups, that of the whole machine.

    Parameters
    ----------
    groups : Path
        Where control groups are mounted.
    process : Path
        Where ``/proc`` is mounted.
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
    """Yield the files that may have the count, the nearest first."""
    with contextlib.suppress(OSError):
        for line in (process / "self" / "cgroup").read_text().splitlines():
            _, names, path = line.split(":", 2)
            if not names:
                yield groups / path.lstrip("/") / "memory.events"
            elif "memory" in names.split(","):
                yield groups / "memory" / path.lstrip("/") / "memory.oom_control"
    # Within a container, its own group may be mounted at the top.
    yield groups / "memory.events"
    yield groups / "memory" / "memory.oom_control"
    yield process / "vmstat"


def _read_status(name: str) -> int:
    """Return bytes that ``/proc/self/status`` names; 0 where it does not."""
    with contextlib.suppress(OSError, ValueError):
        for line in _STATUS.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return 0

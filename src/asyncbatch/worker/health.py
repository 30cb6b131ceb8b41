"""Detects stopped and stuck processes, from the kernel's statistics. A process that computes is always healthy."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from asyncbatch.processes import read_stat

STOPPED: Final = 5.0
"""Seconds that a process may be stopped, for example by SIGSTOP. A debugger's stop is a different state."""

STUCK: Final = 60.0
"""Seconds that a process may wait for a device or its own memory without running at all."""

_STATE, _USER_TICKS, _SYSTEM_TICKS = 0, 11, 12
"""Indices in the fields of `read_stat`."""


def read_state(pid: int) -> str:
    """Return the state of a process, a letter as in `ps`; empty if it is not known.

    Much faster than a `Sample`, since it is called before each tile.
    """
    fields = read_stat(pid)
    return fields[_STATE] if fields else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The state of a process at one moment."""

    state: str
    """The state's letter, as in `ps`."""
    ticks: int
    """CPU time of all its threads in clock ticks."""
    switches: int
    """Number of context switches of its main thread."""
    peak: int
    """Its peak memory in bytes."""

    @classmethod
    def take(cls, pid: int) -> Self | None:
        """Return the current state of a process; None if it is not known, for example because it has ended."""
        stat = read_stat(pid)
        try:
            status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
            lines = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
            return cls(
                state=stat[_STATE],
                ticks=int(stat[_USER_TICKS]) + int(stat[_SYSTEM_TICKS]),
                switches=int(lines["voluntary_ctxt_switches"]) + int(lines["nonvoluntary_ctxt_switches"]),
                peak=int(lines["VmHWM"].split()[0]) * 1024,
            )
        except (OSError, LookupError, ValueError):
            return None


@dataclass(slots=True, kw_only=True)
class Health:
    """Decides from samples whether a process is stopped or stuck. `now` is passed in."""

    peak: int = 0
    """Highest observed peak memory in bytes."""
    _last: Sample | None = None
    _since: float = field(default=0.0)
    """Time of the first sample equal to the last one."""

    def note(self, sample: Sample | None, now: float) -> str:
        """Note a sample, and return why the process must be killed; empty if it need not be."""
        last, self._last = self._last, sample
        if sample is None:
            return ""
        self.peak = max(self.peak, sample.peak)
        if last is None or (last.state, last.ticks, last.switches) != (sample.state, sample.ticks, sample.switches):
            self._since = now
            return ""
        age = now - self._since
        if sample.state == "T" and age >= STOPPED:
            return f"the slot's process was stopped by a signal for {age:.0f} s"
        if sample.state == "D" and age >= STUCK:
            return f"the slot's process was stuck in the kernel for {age:.0f} s: a failed disk or network file system"
        return ""

"""Whether a process gets on, as the kernel tells. A process that computes, whatever lock it holds, always does."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

STOPPED: Final = 5.0
"""Seconds that a process may be stopped, by SIGSTOP for one. A debugger's stop is another state."""

STUCK: Final = 60.0
"""Seconds that a process may wait for a device, or for its own memory, without running at all in between."""

_STATE, _USER_TICKS, _SYSTEM_TICKS = 0, 11, 12
"""Places in ``/proc/PID/stat``, counted after the command's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A process at one moment."""

    state: str
    """A letter, as `ps` shows it."""
    ticks: int
    """Clock ticks that all its threads have run."""
    switches: int
    """Times that its main thread has stopped running."""
    peak: int
    """Most bytes of memory that it has had at one time."""

    @classmethod
    def take(cls, pid: int) -> Self | None:
        """Return how a process is now; None where that is not known, for instance since it has ended."""
        folder = Path(f"/proc/{pid}")
        try:
            stat = (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            status = (folder / "status").read_text(encoding="utf-8", errors="replace")
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
    """Decides, by samples, that a process will not get on. Pure: `now` is passed in."""

    peak: int = 0
    """Most bytes of memory that were seen."""
    _last: Sample | None = None
    _since: float = field(default=0.0)
    """When it was first seen as it was last."""

    def note(self, sample: Sample | None, now: float) -> str:
        """Take in a sample, and return why the process must be killed; empty if it need not be."""
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
            return f"the slot's process was stuck in the kernel for {age:.0f} s: a dead disk or network file system"
        return ""

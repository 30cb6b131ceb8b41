"""Lets obstore's threads finish their last calls into Python before Python ends.

A thread of obstore that calls the interpreter while Python ends aborts the process (SIGABRT). This can happen even
after all requests have been answered, since the thread still has to release Python objects.
"""

import time
from pathlib import Path
from typing import Final

_TASKS: Final = Path("/proc/self/task")

_THREADS: Final = "(tokio-"
"""Start of the names of obstore's threads in `stat`."""

_PAUSE: Final = 0.002
"""Seconds for which this thread releases the interpreter for other threads."""

_CHECKS: Final = 3
"""Number of consecutive checks in which all must sleep, since a thread that waits for the interpreter also sleeps."""

_TIMEOUT: Final = 1.0
"""Maximum number of seconds to wait."""


def wait_for_threads() -> None:
    """Wait until obstore's threads are idle."""
    deadline, quiet = time.monotonic() + _TIMEOUT, 0
    while quiet < _CHECKS and time.monotonic() < deadline:
        time.sleep(_PAUSE)
        quiet = quiet + 1 if all(state == "S" for state in _read_states()) else 0


def _read_states() -> list[str]:
    """Return the state of each of obstore's threads: ``S`` if it sleeps; empty if the system does not provide it."""
    states = []
    for task in _TASKS.iterdir() if _TASKS.is_dir() else ():
        try:
            name, _, rest = (task / "stat").read_text().rpartition(") ")
        except OSError:  # it has ended
            continue
        if _THREADS in name:
            states.append(rest[0])
    return states

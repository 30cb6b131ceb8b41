"""Lets obstore's threads finish their last calls into Python before Python ends.

A thread of obstore that wants the interpreter while Python ends aborts the process (SIGABRT), also after all requests
have been answered: it still has to release Python objects.
"""

import atexit
import time
from pathlib import Path
from typing import Final

_TASKS: Final = Path("/proc/self/task")

_THREADS: Final = "(tokio-"
"""How the names of obstore's threads begin in `stat`."""

_PAUSE: Final = 0.002
"""Seconds in which this thread leaves the interpreter to the others."""

_CHECKS: Final = 3
"""Checks in a row in which all of them must sleep: one that waits for the interpreter sleeps too, until it gets it."""

_TIMEOUT: Final = 1.0
"""Seconds after which Python ends anyway."""


def wait_for_threads() -> None:
    """Wait until obstore's threads have nothing to do."""
    deadline, quiet = time.monotonic() + _TIMEOUT, 0
    while quiet < _CHECKS and time.monotonic() < deadline:
        time.sleep(_PAUSE)
        quiet = quiet + 1 if all(state == "S" for state in _read_states()) else 0


def _read_states() -> list[str]:
    """Return the state of each of obstore's threads: ``S`` if it sleeps; none where the system does not tell."""
    states = []
    for task in _TASKS.iterdir() if _TASKS.is_dir() else ():
        try:
            name, _, rest = (task / "stat").read_text().rpartition(") ")
        except OSError:  # it has ended
            continue
        if _THREADS in name:
            states.append(rest[0])
    return states


# Called after what modules that are imported later register.
atexit.register(wait_for_threads)

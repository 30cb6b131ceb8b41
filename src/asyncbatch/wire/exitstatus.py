"""Exit statuses of processes that signals end."""

import signal
from typing import Final

BY_SIGNAL: Final = 128
"""Added to a signal's number, this is the exit status of a process that the signal ended, as in shells."""

TERMINATED: Final = BY_SIGNAL + signal.SIGTERM
"""Exit status of a worker that was terminated: not 0, so that Batch does not count a reclaimed worker as succeeded."""

"""What a worker and its slots agree on. Apart from both, so that a worker does not load what slots need."""

import signal
import struct
from typing import Final

HEADER: Final = struct.Struct("<IQ")
"""Lengths of a frame's head (JSON) and of its body."""

STACKS_SIGNAL: Final = signal.SIGRTMAX
"""Has a slot write its stacks. A real-time signal: SIGUSR1 and SIGUSR2 are left to the user's function."""

"""The protocol between a worker and its slots, in a separate module so that a worker does not import slots' modules."""

import signal
import struct
from typing import Final

HEADER: Final = struct.Struct("<IQ")
"""Lengths of a frame's head (JSON) and of its body."""

STACKS_SIGNAL: Final = signal.SIGRTMAX
"""Makes a slot write its stacks. A real-time signal, since the user's function may use SIGUSR1 and SIGUSR2."""

"""The frames in which a worker and its slots talk. Apart from both, so that a worker does not load what slots need."""

import struct
from typing import Final

HEADER: Final = struct.Struct("<IQ")
"""Lengths of a frame's head (JSON) and of its body."""

"""The phases of a run."""

from enum import IntEnum


class Phase(IntEnum):
    """The phase of a run, which only increases."""

    OPEN = 0
    """Tiles are accepted."""
    DRAINING = 1
    """No more tiles are accepted; existing tiles are computed."""
    CANCELLED = 2
    """Tiles that are not done have been cancelled; the workers are stopping."""
    ENDED = 3
    """The run has ended and its resources are removed."""

"""How far a run has come towards its end."""

from enum import IntEnum


class Phase(IntEnum):
    """A run only ever goes forward."""

    OPEN = 0
    """Tiles are accepted."""
    DRAINING = 1
    """No more tiles are accepted; those that there are will be computed."""
    CANCELLED = 2
    """Tiles that are not done have been given up; the workers are leaving."""
    ENDED = 3
    """Nothing of the run is left."""

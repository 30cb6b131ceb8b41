"""The seeds that are always played."""

from typing import Final

SEEDS: Final = range(200)

SEEDS_OF_PROCESSES: Final = (711, 1658, 2325, 4616)
"""Together they strike workers at most steps, and have most kinds of mishaps."""

"""The seeds that are always played."""

from typing import Final

SEEDS: Final = range(200)

SEEDS_OF_PROCESSES: Final = (805, 11189)
SEEDS_OF_MOTO: Final = (13692,)
SEEDS_OF_MINISTACK: Final = (7060,)
"""Those that are played with processes: on the embedded endpoint, on moto, and on ministack. They have most kinds of
mishaps."""

SEEDS_OF_MAINS: Final = (711,)
"""Those in which main is killed too."""

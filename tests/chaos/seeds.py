"""The seeds that CI runs."""

from typing import Final

SEEDS: Final = range(200)

SEEDS_OF_PROCESSES: Final = (805, 11189)
SEEDS_OF_MOTO: Final = (13692,)
SEEDS_OF_MINISTACK: Final = (7060,)
"""Seeds for runs with processes, on the embedded endpoint, on moto, and on ministack. They contain most kinds of
incidents."""

SEEDS_OF_MAINS: Final = (711,)
"""Seeds for runs in which main is killed."""

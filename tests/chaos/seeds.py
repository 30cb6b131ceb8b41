"""The seeds that are always played."""

from typing import Final

SEEDS: Final = range(200)

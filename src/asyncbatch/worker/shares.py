"""What a slot may take of a machine that it shares with other workers. Pure, but for reading the limit of memory."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
"""Without these, numeric libraries take a thread for each vCPU of the machine, of which a container has a share."""

_CACHE: Final = 0.05
"""Part of the memory that GDAL's block cache takes by default: of the machine's, where it sees no container."""
_LEAST_CACHE: Final = 16
"""MiB."""

_LIMITS: Final = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Where Linux says how much memory a container may take, by version 2 and 1 of control groups."""

_UNLIMITED: Final = 1 << 60
"""Version 1 says that there is no limit by about as many bytes as 63 bits can count."""


def choose_variables(environment: Mapping[str, str], *, slots: int, memory: int | None) -> dict[str, str]:
    """Return variables that keep numeric libraries and GDAL within a slot's share; those that are set stay.

    Parameters
    ----------
    environment : mapping
        The worker's.
    slots : int
        Of the worker: one for each of its vCPUs.
    memory : int or None
        Bytes that the container may take; None where there is no limit.
    """
    chosen = dict.fromkeys(THREADS, "1")
    if memory is not None:
        chosen["GDAL_CACHEMAX"] = f"{max(_LEAST_CACHE, int(memory * _CACHE / slots) >> 20)}MB"
    return {name: value for name, value in chosen.items() if name not in environment}


def read_memory_limit() -> int | None:
    """Return the bytes that this container may take; None where there is no limit."""
    for path in _LIMITS:
        try:
            limit = int(path.read_text())
        except (OSError, ValueError):  # not there, or "max"
            continue
        return limit if limit < _UNLIMITED else None
    return None

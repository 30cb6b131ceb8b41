"""A slot's share of a machine that several workers use. It reads only the memory limit."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
"""Without these, numeric libraries use a thread for each vCPU of the machine, of which a container has only a share."""

_CACHE: Final = 0.05
"""GDAL's default block cache as a fraction of memory; in a container, GDAL may use the machine's memory."""
_LEAST_CACHE: Final = 16
"""Minimum size of the cache in MiB."""

_LIMITS: Final = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Files with a container's memory limit, for versions 2 and 1 of control groups."""

_UNLIMITED: Final = 1 << 60
"""Version 1 represents no limit by a number close to 2**63."""


def choose_variables(environment: Mapping[str, str], *, slots: int, memory: int | None) -> dict[str, str]:
    """Return variables that limit numeric libraries and GDAL to a slot's share; variables that are set are kept.

    Parameters
    ----------
    environment : mapping
        The worker's environment.
    slots : int
        Number of slots of the worker, one for each vCPU.
    memory : int or None
        Memory limit of the container in bytes; None for no limit.
    """
    chosen = dict.fromkeys(THREADS, "1")
    if memory is not None:
        chosen["GDAL_CACHEMAX"] = f"{max(_LEAST_CACHE, int(memory * _CACHE / slots) >> 20)}MB"
    return {name: value for name, value in chosen.items() if name not in environment}


def read_memory_limit() -> int | None:
    """Return the memory limit of this container in bytes; None if there is no limit."""
    for path in _LIMITS:
        try:
            limit = int(path.read_text())
        except (OSError, ValueError):  # missing, or "max"
            continue
        return limit if limit < _UNLIMITED else None
    return None

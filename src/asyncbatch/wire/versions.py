"""The versions of main and workers, and whether they can exchange pickles."""

import platform
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Final

_ALWAYS: Final = ("asyncbatch", "cloudpickle", "numpy")

_IF_USED: Final = ("rios",)
"""Packages that both sides need if main has imported them, since their objects are sent."""

COMMON: Final = frozenset({*_ALWAYS, *_IF_USED})
"""Packages that workers have, so that their code is never sent."""

_DIGITS: Final = (("python", 2), ("numpy", 1), ("asyncbatch", 2), ("rios", None))
_NAMES: Final = {1: "major version", 2: "minor version", None: "version"}


def list_versions(packages: Iterable[str] | None = None) -> dict[str, str]:
    """Return the versions of Python and of the installed packages that matter for pickles.

    Parameters
    ----------
    packages : iterable of str, optional
        The packages; by default those that this process uses.
    """
    if packages is None:
        packages = [*_ALWAYS, *(package for package in _IF_USED if package in sys.modules)]
    versions = {package: _version(package) for package in packages}
    return {package: found for package, found in versions.items() if found} | {"python": platform.python_version()}


def explain_mismatch(main: Mapping[str, str], worker: Mapping[str, str]) -> str:
    """Return why main and a worker are incompatible, with both versions; empty if they are compatible.

    cloudpickle sends byte code, which differs between minor versions of Python. An older major version of numpy can't
    read pickles of a newer one. Both sides must have the same minor version of asyncbatch. RIOS's objects may change
    with any version, which matters only if main uses RIOS.
    """
    for package, digits in _DIGITS:
        ours, theirs = main.get(package, ""), worker.get(package, "")
        if package in _IF_USED and not ours:
            continue
        if ours.split(".")[:digits] != theirs.split(".")[:digits]:
            return (
                f"main has {package} {ours or 'none'}, but the worker has {package} {theirs or 'none'}. "
                f"Install the same {_NAMES[digits]} of {package} on both"
            )
    return ""


_read_version: Final = cache(version)
"""Cached, since it takes milliseconds, and each worker of `asyncbatch.testing` calls it."""


def _version(package: str) -> str:
    """Return the version of a package from its metadata, or its own attribute; empty if it is not installed."""
    try:
        return _read_version(package)
    except PackageNotFoundError:
        if package not in _IF_USED:
            return ""
    try:  # run from its sources
        return str(getattr(import_module(package), "__version__", ""))
    except ImportError:
        return ""

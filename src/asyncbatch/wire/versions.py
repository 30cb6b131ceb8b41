"""Which versions each side runs, and whether the two can exchange pickles."""

import platform
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Final

_ALWAYS: Final = ("asyncbatch", "cloudpickle", "numpy")

_IF_USED: Final = ("rios",)
"""Needed on both sides where main has imported it: its objects travel."""

COMMON: Final = frozenset({*_ALWAYS, *_IF_USED})
"""Packages that a worker has of its own, so that their code never travels."""

_DIGITS: Final = (("python", 2), ("numpy", 1), ("asyncbatch", 2), ("rios", None))
_NAMES: Final = {1: "major version", 2: "minor version", None: "version"}


def versions_here(packages: Iterable[str] | None = None) -> dict[str, str]:
    """Return the versions of Python and of the packages that matter to a pickle, as far as installed.

    Parameters
    ----------
    packages : iterable of str, optional
        By default those that this process uses.
    """
    if packages is None:
        packages = [*_ALWAYS, *(package for package in _IF_USED if package in sys.modules)]
    told = {package: _version(package) for package in packages}
    return {package: found for package, found in told.items() if found} | {"python": platform.python_version()}


def mismatch(main: Mapping[str, str], worker: Mapping[str, str]) -> str:
    """Return why two sides can't work together, with both sides' versions; empty if they can.

    cloudpickle sends byte code, which is another one with each minor version of Python; numpy's pickles of a major
    version are not read by the one before; of ours, both sides must be of the same minor version. RIOS pickles its
    own objects, whose attributes change with any version; it matters only where main uses it.
    """
    for package, digits in _DIGITS:
        ours, theirs = main.get(package, ""), worker.get(package, "")
        if package in _IF_USED and not ours:
            continue
        if ours.split(".")[:digits] != theirs.split(".")[:digits]:
            return (
                f"main runs {package} {ours or 'none'} and the worker {package} {theirs or 'none'}; "
                f"give both the same {_NAMES[digits]} of {package}"
            )
    return ""


_read_version: Final = cache(version)
"""It takes milliseconds, and each worker of `asyncbatch.testing` asks."""


def _version(package: str) -> str:
    """Return the version of a package: as it was installed, or else as it tells itself; empty if it is not there."""
    try:
        return _read_version(package)
    except PackageNotFoundError:
        if package not in _IF_USED:
            return ""
    try:  # run from its sources
        return str(getattr(import_module(package), "__version__", ""))
    except ImportError:
        return ""

"""Which versions each side runs, and whether the two can exchange pickles."""

import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Final

_PACKAGES: Final = ("asyncbatch", "cloudpickle", "numpy")


def versions_here(packages: Iterable[str] = _PACKAGES) -> dict[str, str]:
    """Return the versions of Python and of the packages that matter to a pickle, as far as installed."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def mismatch(main: Mapping[str, str], worker: Mapping[str, str]) -> str:
    """Return why two sides can't work together, with both sides' versions; empty if they can.

    cloudpickle sends byte code, which is another one with each minor version of Python; numpy's pickles of a major
    version are not read by the one before; of ours, both sides must be of the same minor version.
    """
    for package, digits in (("python", 2), ("numpy", 1), ("asyncbatch", 2)):
        ours, theirs = main.get(package, ""), worker.get(package, "")
        if ours.split(".")[:digits] != theirs.split(".")[:digits]:
            return (
                f"main runs {package} {ours or 'none'} and the worker {package} {theirs or 'none'}; "
                f"give both the same {'minor' if digits > 1 else 'major'} version of {package}"
            )
    return ""

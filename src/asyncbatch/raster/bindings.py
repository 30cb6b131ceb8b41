"""GDAL's Python bindings: loaded when first needed, heard out, and left as the user has set them."""

import importlib
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from asyncbatch.errors import RasterError


class GdalWarning(UserWarning):
    """What GDAL warns of; filter it, or turn it into an error, as Python's warnings."""


def gdal() -> Any:  # noqa: ANN401 - the bindings carry no types
    """Return the module ``osgeo.gdal``.

    Raises
    ------
    RasterError
        If the bindings are not installed, or don't load.
    """
    return _module("gdal")


def osr() -> Any:  # noqa: ANN401 - as above
    """Return the module ``osgeo.osr``."""
    return _module("osr")


def _module(name: str) -> Any:  # noqa: ANN401 - as above
    try:
        return importlib.import_module(f"osgeo.{name}")
    except ImportError as error:
        raise RasterError(
            f"GDAL's Python bindings can't be loaded ({error}); install libgdal and the package 'gdal' of its version, "
            "or the package 'gdal-wheel', which needs no libgdal"
        ) from error


@contextmanager
def listening(*, path: str = "", shown: str = "") -> Iterator[list[str]]:
    """Collect the errors that GDAL reports in this thread.

    The list grows while the block runs. Nothing is raised and nothing printed: an error is not always a failure, and
    some failures are reported only when a raster is closed. Warnings are no part of it: they become `GdalWarning` at
    the end of the block, and Python shows each of them once. What the user has set (`gdal.UseExceptions`, an error
    handler of their own) is the same afterwards.

    Parameters
    ----------
    path, shown : str, optional
        A path that GDAL may name, and what the user knows it by.
    """
    bindings = gdal()
    heard: list[str] = []
    warned: list[str] = []

    def hear(severity: int, _number: int, message: str) -> None:
        if severity >= bindings.CE_Warning:
            (heard if severity >= bindings.CE_Failure else warned).append(tidy(message))

    def tidy(message: str) -> str:
        return " ".join((message.replace(path, shown) if path else message).split())

    with exceptions_off(bindings):
        bindings.PushErrorHandler(hear)
        try:
            yield heard
        except RuntimeError as error:
            # Before 3.7 exceptions can't be switched off for one thread, and the handler is not always asked.
            heard.append(tidy(str(error)))
        finally:
            bindings.PopErrorHandler()
    for message in dict.fromkeys(warned):
        warnings.warn(f"GDAL: {message}", GdalWarning, stacklevel=1)


def exceptions_off(bindings: Any) -> AbstractContextManager[object]:  # noqa: ANN401 - as above
    """Switch off exceptions for this thread, where GDAL can; this also silences its warning of GDAL 4."""
    manager = getattr(bindings, "ExceptionMgr", None)
    return nullcontext() if manager is None else manager(useExceptions=False)


def reason(heard: list[str], path: str) -> str:
    """Put what GDAL said into words that may follow the path, all on one line."""
    said = dict.fromkeys(message.removeprefix(f"{path}: ") for message in heard)
    return "; ".join([*said][:3]) or "GDAL gives no reason"

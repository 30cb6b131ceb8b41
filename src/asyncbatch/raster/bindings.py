"""GDAL's Python bindings: imported when first needed, with errors collected and the user's settings kept."""

import importlib
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from asyncbatch.errors import RasterError


class GdalWarning(UserWarning):
    """A warning of GDAL. Filter it, or turn it into an error, like other Python warnings."""


def load_gdal() -> Any:  # noqa: ANN401 - the bindings have no types
    """Return the module ``osgeo.gdal``.

    Raises
    ------
    RasterError
        If the bindings are not installed, or can't be imported.
    """
    return _import_module("gdal")


def load_osr() -> Any:  # noqa: ANN401 - as above
    """Return the module ``osgeo.osr``."""
    return _import_module("osr")


def _import_module(name: str) -> Any:  # noqa: ANN401 - as above
    try:
        return importlib.import_module(f"osgeo.{name}")
    except ImportError as error:
        raise RasterError(
            f"can't import GDAL's Python bindings ({error}); install libgdal and the package 'gdal' in the same "
            "version, or the package 'gdal-wheel', which includes libgdal"
        ) from error


@contextmanager
def collect_errors(*, path: str = "", shown: str = "") -> Iterator[list[str]]:
    """Collect the errors that GDAL reports in this thread.

    The list grows while the block runs. Nothing is raised or printed: an error does not always mean failure, and some
    failures are reported only when a raster is closed. Warnings are not in the list: they are issued as `GdalWarning`
    at the end of the block, and Python shows each of them once. The user's settings (`gdal.UseExceptions`, an error
    handler) are restored afterwards.

    Parameters
    ----------
    path, shown : str, optional
        A path in GDAL's messages, and the user's name for it, which replaces it.
    """
    bindings = load_gdal()
    heard: list[str] = []
    warned: list[str] = []

    def hear(severity: int, _number: int, message: str) -> None:
        if severity >= bindings.CE_Warning:
            (heard if severity >= bindings.CE_Failure else warned).append(tidy(message))

    def tidy(message: str) -> str:
        return " ".join((message.replace(path, shown) if path else message).split())

    with disable_exceptions(bindings):
        bindings.PushErrorHandler(hear)
        try:
            yield heard
        except RuntimeError as error:
            # Before 3.7, exceptions can't be disabled for one thread, and the handler is not always called.
            heard.append(tidy(str(error)))
        finally:
            bindings.PopErrorHandler()
    for message in dict.fromkeys(warned):
        warnings.warn(f"GDAL: {message}", GdalWarning, stacklevel=1)


def disable_exceptions(bindings: Any) -> AbstractContextManager[object]:  # noqa: ANN401 - as above
    """Disable exceptions for this thread if GDAL supports it; this also silences its warning about GDAL 4."""
    manager = getattr(bindings, "ExceptionMgr", None)
    return nullcontext() if manager is None else manager(useExceptions=False)


def format_reason(heard: list[str], path: str) -> str:
    """Format GDAL's errors on one line, to follow a path in a message."""
    said = dict.fromkeys(message.removeprefix(f"{path}: ") for message in heard)
    return "; ".join([*said][:3]) or "GDAL gave no reason"

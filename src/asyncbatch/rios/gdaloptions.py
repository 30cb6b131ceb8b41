"""Sends GDAL configuration options that a script has set to its tiles on workers."""

import ctypes
import itertools
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Final

_SECRET: Final = re.compile("SECRET|TOKEN|PASSW|PWD|BEARER|ACCESS_KEY|CREDENTIAL|HEADER|SAS|ROLE_|CONNECTION_STRING")
"""Matches the names of secrets, which must not be stored in the bucket; workers have their own credentials."""

_OF_A_MACHINE: Final = frozenset(
    {"AWS_CONFIG_FILE", "CPL_AWS_CREDENTIALS_FILE", "CPL_TMPDIR", "CURL_CA_BUNDLE", "GDAL_CACHEMAX", "GDAL_DATA"}
    | {"GDAL_DRIVER_PATH", "GDAL_NUM_THREADS", "PROJ_DATA", "PROJ_LIB", "SSL_CERT_FILE"}
)


def capture_options() -> dict[str, str]:
    """Return options set by `gdal.SetConfigOption`, without secrets and descriptions of this machine."""
    return {
        name: value
        for name, value in sorted(_read_options().items())
        if not _SECRET.search(name.upper()) and name.upper() not in _OF_A_MACHINE and os.environ.get(name) != value
    }


@contextmanager
def set_options(options: dict[str, str]) -> Iterator[None]:
    """Set options during the block, and restore the previous values afterwards."""
    if not options:
        yield
        return
    gdal = import_module("osgeo.gdal")
    before = _read_options()
    for name, value in options.items():
        gdal.SetConfigOption(name, value)
    try:
        yield
    finally:
        for name in options:
            gdal.SetConfigOption(name, before.get(name))


def _read_options() -> dict[str, str]:
    try:
        gdal = import_module("osgeo.gdal")
        if hasattr(gdal, "GetConfigOptions"):
            return dict(gdal.GetConfigOptions())
        return _read_from_library()
    except (ImportError, AttributeError, OSError):  # no GDAL, or a version without this function
        return {}


def _read_from_library() -> dict[str, str]:
    """Read the options from GDAL's C library, since older Python bindings have no function to list them."""
    library = ctypes.CDLL(str(import_module("osgeo._gdal").__file__))
    library.CPLGetConfigOptions.restype = ctypes.POINTER(ctypes.c_char_p)
    library.CSLDestroy.argtypes = [ctypes.POINTER(ctypes.c_char_p)]
    listed = library.CPLGetConfigOptions()
    found: dict[str, str] = {}
    try:
        for entry in itertools.takewhile(lambda text: text is not None, listed or ()):
            name, _, value = os.fsdecode(entry).partition("=")
            found[name] = value
    finally:
        library.CSLDestroy(listed)
    return found

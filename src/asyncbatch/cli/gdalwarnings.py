"""Shows GDAL's warnings for commands."""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from asyncbatch.raster import GdalWarning


@contextmanager
def show_on_one_line() -> Iterator[None]:
    """Show GDAL's warnings without the location in asyncbatch's code where they are issued."""
    with warnings.catch_warnings():
        show = warnings.showwarning

        def show_on_a_line(  # noqa: PLR0917 - Python's signature
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if issubclass(category, GdalWarning):
                print(f"asyncbatch: warning: {message}", file=sys.stderr, flush=True)
            else:
                show(message, category, filename, lineno, file, line)

        warnings.showwarning = show_on_a_line
        yield

"""What GDAL warns of, as a command shows it."""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from asyncbatch.raster import GdalWarning


@contextmanager
def show_on_one_line() -> Iterator[None]:
    """Show GDAL's warnings without the place in our code where Python hears of them."""
    with warnings.catch_warnings():
        show = warnings.showwarning

        def show_on_a_line(  # noqa: PLR0917 - as Python calls it
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

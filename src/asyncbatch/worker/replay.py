"""Computes a failed tile in this process, as a slot does, for a debugger."""

import faulthandler
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from asyncbatch.wire import codec
from asyncbatch.worker.baseline import Baseline
from asyncbatch.worker.usermain import Presenter


@contextmanager
def load_tile(program: Path, payload: bytearray) -> Iterator[Callable[[], object]]:
    """Apply the process state that a tile expects, and yield a function that computes it.

    The working directory, the environment and ``__main__`` become those of the script that submitted the tile, and are
    not
        restored.

    Parameters
    ----------
    program : Path
        The file of its program.
    payload : bytearray
        Its arguments.

    Raises
    ------
    Exception
        Unpickling may raise any exception.
    """
    faulthandler.enable()
    with tempfile.TemporaryDirectory(prefix="asyncbatch-") as folder:
        baseline, presenter = Baseline({}), Presenter(Path(folder) / "main")
        with baseline.keep_imported_variables():
            content: Any = codec.decode(bytearray(program.read_bytes()))
        state, function, code = content
        presenter.prepare(code, program)
        baseline.enter(state)
        presenter.present(code)
        arguments: Any = codec.decode(payload)
        args, kwargs, more = arguments
        if more is not None:
            presenter.present_more(more)
        try:
            yield partial(function, *args, **kwargs)
        finally:
            baseline.restore_essentials()

"""Restores the state of main's process, in which RIOS 1.4 computes one tile of each round."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def restore_state() -> Iterator[None]:
    """Restore the working directory and the environment after the block, as a worker does after each tile.

    Otherwise main's tiles would see changes of earlier tiles, unlike the workers' tiles.
    """
    # The directory itself, not its name, which may have been renamed or removed.
    folder = os.open(".", os.O_PATH | os.O_DIRECTORY)
    environment = dict(os.environb)
    try:
        yield
    finally:
        os.fchdir(folder)
        os.close(folder)
        _restore_environment(environment)


def _restore_environment(wanted: dict[bytes, bytes]) -> None:
    now = dict(os.environb)
    for name in now.keys() - wanted.keys():
        del os.environb[name]
    for name, value in wanted.items():
        if now.get(name) != value:
            os.environb[name] = value

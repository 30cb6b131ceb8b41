"""Imported by every Python that a test starts: on SIGUSR1, it writes the stacks of its threads for the watchdog."""

import contextlib
import faulthandler
import os
import signal


def _register() -> None:
    """Write the stacks of this process to its own file on request."""
    with contextlib.suppress(KeyError, OSError):  # not started by a test, or it has outlived the tests
        path = os.path.join(os.environ["STACKS_OF_TESTS"], str(os.getpid()))  # noqa: PTH118 - pathlib takes time to import
        # A descriptor, since a file object might be closed.
        faulthandler.register(signal.SIGUSR1, file=os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))


_register()
os.register_at_fork(after_in_child=_register)

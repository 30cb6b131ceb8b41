"""Starts the processes of slots, forked from a server that imports their modules while the worker imports its own.

This module imports little, so that a worker can start the server first.
"""

import os
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Final

from asyncbatch.forking.client import ForkClient, ForkedProcess, ForkServerGoneError
from asyncbatch.forking.packets import make_pair

NAME: Final = "asyncbatch-slot"
"""Name of a slot's process in `ps` and `top`."""

END_GRACE: Final = 2.0
"""Seconds for a slot's process to end after it was killed or has closed its socket."""

_SHARED: Final = (
    "asyncbatch.forking.server",
    "asyncbatch.wire.compression",
    "asyncbatch.wire.messages",
    "asyncbatch.worker.failures",
    "asyncbatch.worker.frames",
    "asyncbatch.worker.memory",
)
"""Modules that both workers and slots import; the worker's other modules take longer than numpy."""

_ATTEMPTS: Final = 3
"""Number of servers that may fail before starting a slot fails."""


def fork_server(*connections: socket.socket) -> socket.socket:
    """Fork a server for slots from this process, and return the connection to it; it ends when that is closed.

    This saves importing the modules that both need, but the process must not have had another thread.

    Parameters
    ----------
    *connections : socket
        Connections of this process, which the server closes.
    """
    for name in _SHARED:
        import_module(name)
    ours, theirs = make_pair()
    if os.fork():
        theirs.close()
        return ours
    try:
        for connection in (ours, *connections):
            connection.close()
        with Path(os.devnull).open() as nowhere:
            os.dup2(nowhere.fileno(), sys.stdin.fileno())
        import_module("asyncbatch.worker.slotserver").serve(theirs)
    except BaseException:  # noqa: BLE001 - no caller could handle it
        traceback.print_exc()
    finally:
        os._exit(1)


def start_server() -> socket.socket:
    """Start a server for slots in a new interpreter, and return the connection to it; it ends when that is closed."""
    ours, theirs = make_pair()
    command = [sys.executable, "-P", "-m", "asyncbatch.worker.slotserver", str(theirs.fileno())]
    with theirs:
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])  # noqa: S603 - our command
    server.returncode = 0  # not waited for: it may outlive this process briefly
    return ours


@dataclass(slots=True, kw_only=True)
class SlotProcesses:
    """Starts the processes of slots; a server that has ended is replaced."""

    client: ForkClient
    restart: Callable[[], socket.socket] = start_server

    async def start(self, folder: Path, *, memory: int, connection: int, stacks: int) -> ForkedProcess:
        """Start a process, and return it when it is running.

        Parameters
        ----------
        folder : Path
            Folder for its temporary files.
        memory : int
            Limit of memory for its tiles in bytes; 0 for no limit.
        connection : int
            Descriptor of its end of the socket for tiles.
        stacks : int
            Descriptor of the pipe to which it writes its stacks.

        Raises
        ------
        OSError
            If the process can't be started.
        """
        attempt = 0
        while True:
            attempt += 1
            try:
                return await self._fork(folder, memory=memory, connection=connection, stacks=stacks)
            except ForkServerGoneError:
                if attempt == _ATTEMPTS:
                    raise
                if self.client.gone:
                    self.client = ForkClient(self.restart())

    async def _fork(self, folder: Path, *, memory: int, connection: int, stacks: int) -> ForkedProcess:
        nowhere = os.open(os.devnull, os.O_RDONLY)
        try:
            process = await self.client.fork(
                environment={**os.environ, "TMPDIR": str(folder)},
                folder=str(folder),
                group=os.getpgrp(),
                name=NAME,
                arguments={"memory": memory},
                descriptors=(nowhere, sys.stdout.fileno(), sys.stderr.fileno(), connection, stacks),
            )
        finally:
            os.close(nowhere)
        try:
            await process.wait_forked()
        except BaseException:  # cancelled: it would outlive its folder and its connections
            await process.kill(END_GRACE)
            raise
        return process

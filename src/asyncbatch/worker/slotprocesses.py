"""The processes of slots: forked from a server that has loaded what they need, while the worker loads what it needs.

This module loads little, so that a worker can start the server before anything else.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from asyncbatch.forking.client import ForkClient, ForkedProcess, ForkServerGoneError
from asyncbatch.forking.packets import make_pair

NAME: Final = "asyncbatch-slot"
"""What `ps` and `top` call a slot's process."""

_ATTEMPTS: Final = 3
"""Servers that may end before a slot is taken not to start at all."""


def start_server() -> socket.socket:
    """Start a server for slots, and return the connection to it; it ends when that is closed."""
    ours, theirs = make_pair()
    command = [sys.executable, "-P", "-m", "asyncbatch.worker.slotserver", str(theirs.fileno())]
    with theirs:
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])  # noqa: S603 - our own
    server.returncode = 0  # nobody waits for it: it outlives this process for a moment
    return ours


@dataclass(slots=True, kw_only=True)
class SlotProcesses:
    """Starts the processes of slots; a server that has ended is replaced."""

    client: ForkClient
    restart: Callable[[], socket.socket] = start_server

    async def start(self, folder: Path, *, memory: int, connection: int, stacks: int) -> ForkedProcess:
        """Start one, and return it when it is there.

        Parameters
        ----------
        folder : Path
            For its temporary files.
        memory : int
            Bytes that its tiles may take; 0: no limit.
        connection : int
            Descriptor of its end of the socket over which it gets tiles.
        stacks : int
            Descriptor of the pipe to which it writes its stacks.

        Raises
        ------
        OSError
            If the system can't.
        """
        attempt = 0
        while True:
            attempt += 1
            try:
                process = await self._fork(folder, memory=memory, connection=connection, stacks=stacks)
                await process.wait_forked()
            except ForkServerGoneError:
                if attempt == _ATTEMPTS:
                    raise
                if self.client.gone:
                    self.client = ForkClient(self.restart())
            else:
                return process

    async def _fork(self, folder: Path, *, memory: int, connection: int, stacks: int) -> ForkedProcess:
        nowhere = os.open(os.devnull, os.O_RDONLY)
        try:
            return await self.client.fork(
                environment={**os.environ, "TMPDIR": str(folder)},
                folder=str(folder),
                group=os.getpgrp(),
                name=NAME,
                arguments={"memory": memory},
                descriptors=(nowhere, sys.stdout.fileno(), sys.stderr.fileno(), connection, stacks),
            )
        finally:
            os.close(nowhere)

"""``asyncbatch-worker``: the entry point of a worker's container, and of a worker process on this machine."""

import atexit
import contextlib
import os
import socket
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NoReturn

import anyio

from asyncbatch import folders, logformat
from asyncbatch.errors import AsyncBatchError, find_first
from asyncbatch.forking.client import ForkClient
from asyncbatch.wire.environment import WorkerEnvironment
from asyncbatch.wire.manifest import KEY_VARIABLE
from asyncbatch.worker.shares import choose_variables, read_memory_limit
from asyncbatch.worker.slotprocesses import SlotProcesses, start_server


def main() -> None:
    """Run a worker.

    It exits with 0 when its run is over, 143 when it was terminated, 3 when it or its run's manifest is refused, or 1
    when it is broken.
    """
    end(run(start_server))


def run(connect: Callable[[], socket.socket]) -> int:
    """Run a worker by the environment variables of this process, and return its exit status.

    Parameters
    ----------
    connect : callable
        Returns a connection to a fork server for slots.
    """
    try:
        environment = WorkerEnvironment.read()
        os.environ.pop(KEY_VARIABLE, None)  # users' functions print their environment
        if environment.log_stream:
            os.dup2(sys.stdout.fileno(), sys.stderr.fileno())  # one pipe into the log keeps all lines in their order
            # Slots inherit them. Not on main's own machine, where a pool's process has what any process has.
            os.environ.update(choose_variables(os.environ, slots=environment.slots, memory=read_memory_limit()))
        logformat.configure(os.environ.get("ASYNCBATCH_LOG", "INFO" if environment.log_stream else "WARNING"))
        try:
            return anyio.run(_work, environment, SlotProcesses(client=ForkClient(connect())))
        finally:
            if environment.run_folder:
                folders.leave(Path(tempfile.gettempdir()), Path(environment.run_folder))
    except* AsyncBatchError as group:
        error = find_first(group)
        print(f"asyncbatch-worker: error: {error}", file=sys.stderr)  # noqa: T201 - this is its command line
        from asyncbatch.worker.work import exit_status  # noqa: PLC0415 - as below

        status = exit_status(error)
    return status


def end(status: int) -> NoReturn:
    """End this process without taking the interpreter apart.

    obstore's threads may want to run Python still, and Python ends such threads in a way that aborts the process.
    """
    atexit._run_exitfuncs()  # noqa: SLF001 - there is no public one
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # closed, or nobody reads it
            stream.flush()
    os._exit(status)


async def _work(environment: WorkerEnvironment, processes: SlotProcesses) -> int:
    # Imported when the slots' server has been started, which loads numpy meanwhile.
    from asyncbatch.aws.session import open_session  # noqa: PLC0415
    from asyncbatch.worker.slot import Slot  # noqa: PLC0415
    from asyncbatch.worker.work import work  # noqa: PLC0415

    async with open_session(region=environment.region, endpoint_url=environment.endpoint_url) as session:
        return await work(
            environment,
            session,
            make_start=lambda memory: partial(Slot.start, processes=processes, memory=memory),
        )


if __name__ == "__main__":
    main()

"""The command ``asyncbatch-worker``: the entry point of workers' containers and processes."""

import atexit
import contextlib
import gc
import os
import socket
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NoReturn

import anyio

from asyncbatch import folders
from asyncbatch.errors import AsyncBatchError, find_first
from asyncbatch.forking.client import ForkClient
from asyncbatch.wire.environment import WorkerEnvironment
from asyncbatch.wire.manifest import KEY_VARIABLE
from asyncbatch.worker import logformat
from asyncbatch.worker.shares import choose_variables, read_memory_limit
from asyncbatch.worker.slotprocesses import SlotProcesses, start_server


def main() -> None:
    """Run a worker.

    Its exit status is 0 when its run has ended, 143 when it was terminated, 3 when its versions or the manifest are
    rejected, and 1 after another error.
    """
    gc.disable()  # imports create few cycles, and much work for the garbage collector
    end(run(start_server))


def run(connect: Callable[[], socket.socket]) -> int:
    """Run a worker according to this process's environment variables, and return its exit status.

    Parameters
    ----------
    connect : callable
        Returns a connection to a fork server for slots.
    """
    try:
        environment = WorkerEnvironment.read()
        os.environ.pop(KEY_VARIABLE, None)  # users' functions may print their environment
        if environment.log_stream:
            os.dup2(sys.stdout.fileno(), sys.stderr.fileno())  # one pipe to the log preserves the order of lines
            # Slots inherit these. Not on main's machine, where slots have the same variables as any other process.
            os.environ.update(choose_variables(os.environ, slots=environment.slots, memory=read_memory_limit()))
        logformat.configure(os.environ.get("ASYNCBATCH_LOG", "INFO" if environment.log_stream else "WARNING"))
        try:
            return anyio.run(_work, environment, SlotProcesses(client=ForkClient(connect())))
        finally:
            if environment.run_folder:
                folders.leave(Path(tempfile.gettempdir()), Path(environment.run_folder))
    except* AsyncBatchError as group:
        error = find_first(group)
        print(f"asyncbatch-worker: error: {error}", file=sys.stderr)  # noqa: T201 - a command
        from asyncbatch.worker.work import exit_status  # noqa: PLC0415 - see below

        status = exit_status(error)
    return status


def end(status: int) -> NoReturn:
    """End this process without finalizing the interpreter.

    obstore's threads may still run Python code, and Python's way of ending such threads aborts the process.
    """
    atexit._run_exitfuncs()  # noqa: SLF001 - there is no public function
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # closed, or no longer read
            stream.flush()
    os._exit(status)


async def _work(environment: WorkerEnvironment, processes: SlotProcesses) -> int:
    # Imported after the slots' server has started, which imports numpy at the same time.
    from asyncbatch.aws.session import open_session  # noqa: PLC0415
    from asyncbatch.worker.slot import Slot  # noqa: PLC0415
    from asyncbatch.worker.work import work  # noqa: PLC0415

    gc.enable()
    async with open_session(region=environment.region, endpoint_url=environment.endpoint_url) as session:
        return await work(
            environment,
            session,
            make_start=lambda memory: partial(Slot.start, processes=processes, memory=memory),
        )


if __name__ == "__main__":
    main()

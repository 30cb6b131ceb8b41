"""The lifeline of a worker on main's machine: it says when main is gone, however main has ended."""

import os

import anyio

from asyncbatch.processes import wait_gone


async def wait_for_main_gone(main: str) -> None:
    """Return when main is gone.

    Parameters
    ----------
    main : str
        What `identify` says of main's process.

    Notes
    -----
    Main's process itself is watched: stdin, whose other end main holds, stays open as long as any process has it that
    main has forked. Its end is the sign where the system can't watch a process.
    """
    async with anyio.create_task_group() as group:

        async def watch_process() -> None:
            await wait_gone(main)
            group.cancel_scope.cancel()

        async def watch_stdin() -> None:
            await _wait_for_end_of_stdin()
            group.cancel_scope.cancel()

        group.start_soon(watch_process)
        group.start_soon(watch_stdin)


async def _wait_for_end_of_stdin() -> None:
    while True:
        await anyio.wait_readable(0)
        if not os.read(0, 4096):
            return

"""Detects the end of main, for workers on main's machine."""

import os

import anyio

from asyncbatch.processes import wait_gone


async def wait_for_main_gone(main: str) -> None:
    """Wait until main's process has ended for any reason.

    Parameters
    ----------
    main : str
        Main's process, from `identify`.

    Notes
    -----
    The process itself is watched, since stdin, whose other end main holds, stays open while a fork of main is alive.
    The end of stdin is used if the system can't watch a process.
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

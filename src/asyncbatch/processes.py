"""Child processes that can be signalled safely, and a way to wait for the end of any process.

After a process has been reaped, the system may reuse its id. Therefore children are reaped in only one place, and only
after the rest of their process group has been killed: until then, neither the child's id nor its group's can be reused.
asyncio's own child processes are reaped immediately, so they can't be used here.
"""

import contextlib
import os
import signal
import subprocess
import threading
import weakref
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import IO, Final

import anyio

_CHUNK: Final = 65536
"""Number of bytes to read at one time: the capacity of a pipe."""

_START_TIME: Final = 19
"""Index of the process's start time in the fields of `read_stat`."""

_STAT_SIZE: Final = 4096
"""Maximum size in bytes of ``/proc/PID/stat``."""


class Pipes:
    """The ends of the pipes to another process: one to its stdin, and one for its output.

    Parameters
    ----------
    source : binary file
        The end from which the other process's stdin is fed.
    output : binary file
        The end at which its output arrives.

    Notes
    -----
    A process that is forked from this one does not inherit them.
    """

    def __init__(self, source: IO[bytes], output: IO[bytes]) -> None:
        self._source = source
        self._output = output
        os.set_blocking(output.fileno(), False)
        _owned.add(self)

    async def output(self) -> AsyncGenerator[bytes]:
        """Yield the output of the process and its descendants, until all have closed it, or `close` is called."""
        while not self._output.closed:
            try:
                await anyio.wait_readable(self._output)
            except anyio.ClosedResourceError:
                return
            chunk = self.read_output()
            if chunk:
                yield chunk
            elif chunk is not None:
                self._output.close()

    def read_output(self) -> bytes | None:
        """Return unread output: None if there is none now, empty if there will be no more."""
        if self._output.closed:
            return b""
        try:
            return os.read(self._output.fileno(), _CHUNK)
        except BlockingIOError:
            return None

    def close_source(self) -> None:
        """Close the end of the pipe to stdin."""
        self._source.close()

    def close(self) -> None:
        """Close the pipes. Must be called in the event loop, where `output` may be waiting."""
        for pipe in (self._source, self._output):
            if not pipe.closed:
                anyio.notify_closing(pipe)
                pipe.close()

    def disown(self) -> None:
        """Close the pipes in a process where no task waits for them, such as a fork of this process."""
        for pipe in (self._source, self._output):
            pipe.close()


class ChildProcess:
    """A child process in a new session, with a pipe to its stdin and another for its output.

    Parameters
    ----------
    command : sequence of str
        The program and its arguments.
    environment : mapping
        The complete environment of the process.
    folder : Path, optional
        Its working directory; by default that of this process.
    descriptors : sequence of int
        Descriptors that it inherits in addition to stdin, stdout and stderr.

    Raises
    ------
    OSError
        If the process can't be started.

    Notes
    -----
    When the process has ended, `poll` and `wait` kill the rest of its process group before they reap it.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        folder: Path | None = None,
        descriptors: Sequence[int] = (),
    ) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - the caller's command, without a shell
            command,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=folder,
            start_new_session=True,
            pass_fds=descriptors,
        )
        self.pid = self._process.pid
        self._returncode: int | None = None
        try:
            assert self._process.stdin is not None  # noqa: S101 - both are pipes
            assert self._process.stdout is not None  # noqa: S101 - as above
            self.pipes = Pipes(self._process.stdin, self._process.stdout)
            self._end = _open_end(self.pid)
        except BaseException:
            os.killpg(self.pid, signal.SIGKILL)
            self._process.communicate()
            raise
        _owned.add(self)

    @property
    def returncode(self) -> int | None:
        """The exit status, or the negative number of the signal that ended the process; None until it is reaped."""
        return self._returncode

    def poll(self) -> int | None:
        """Return the `returncode`; if the process has ended, first kill the rest of its group and reap it."""
        if self._returncode is not None:
            return self._returncode
        try:
            ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None
        except ChildProcessError:  # other code in this process has reaped it, so its id may have been reused
            ended = True
        else:
            if ended:
                self._kill_group()
        if ended:
            self._returncode = self._process.wait()
            os.close(self._end)
            self.pipes.close_source()
        return self._returncode

    async def wait(self) -> int:
        """Wait until the process has ended and the rest of its group was killed, and return the `returncode`."""
        while (code := self.poll()) is None:
            end = os.dup(self._end)  # only one task can wait for a descriptor
            try:
                await anyio.wait_readable(end)
            finally:
                os.close(end)
        return code

    def terminate(self) -> None:
        """Send SIGTERM to the process if it is running."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL to the process and its group if it is running."""
        if self.poll() is None:
            self._kill_group()

    def disown(self) -> None:
        """Abandon the process, since this process is a fork of its parent."""
        if self._returncode is None:
            os.close(self._end)
            self._returncode = self._process.returncode = 0

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


def _open_end(pid: int) -> int:
    """Return a descriptor that becomes readable when a child has ended."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):  # not Linux, an old kernel, or a sandbox that forbids it
        ours, theirs = os.pipe()
        threading.Thread(target=_close_at_end, args=(pid, theirs), daemon=True).start()
        return ours


def _close_at_end(pid: int, descriptor: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    os.close(descriptor)


_owned: Final[weakref.WeakSet[ChildProcess | Pipes]] = weakref.WeakSet()
"""All children of this process and pipes to others, so that its forks can close their descriptors."""


def _disown_all() -> None:
    for owned in list(_owned):
        owned.disown()


os.register_at_fork(after_in_child=_disown_all)


def identify(pid: int) -> str:
    """Return a string that identifies a process, even if its id is reused later."""
    return f"{pid}:{_start_time(pid)}"


async def wait_gone(identity: str) -> None:
    """Wait until a process has ended, whether or not it is a child; forever if the system can't report it.

    Parameters
    ----------
    identity : str
        The result of `identify`, which may have been called in another process.
    """
    try:
        end = open_end(identity)
    except ProcessLookupError:
        return
    if end is None:
        await anyio.sleep_forever()
    else:
        try:
            await anyio.wait_readable(end)
        finally:
            os.close(end)


def open_end(identity: str) -> int | None:
    """Return a descriptor that becomes readable when a process has ended; None if the system has none.

    Parameters
    ----------
    identity : str
        The result of `identify`, which may have been called in another process.

    Raises
    ------
    ProcessLookupError
        If it has ended.
    """
    pid, _, started = identity.partition(":")
    try:
        end = os.pidfd_open(int(pid))
    except ProcessLookupError:
        raise
    except (AttributeError, OSError):  # as in `_open_end`
        return None
    if _start_time(int(pid)) not in {started, ""}:
        os.close(end)
        raise ProcessLookupError(f"process {pid} has ended, and its id has been reused")
    return end


def read_stat(pid: int) -> list[str]:
    """Return the fields of ``/proc/PID/stat`` after the command's name; empty if they are not known.

    A worker calls this before each tile, so it is fast.
    """
    try:
        file = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(file, _STAT_SIZE).rpartition(b")")[2].decode().split()
        finally:
            os.close(file)
    except OSError:
        return []


def _start_time(pid: int) -> str:
    """Return the start time of a process in the system's units; empty if it is not known."""
    fields = read_stat(pid)
    return fields[_START_TIME] if fields else ""

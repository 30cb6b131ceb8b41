"""Child processes that are signalled only while they are known to be ours, and a watch over any process.

Once a process has been reaped, the system may give its number to another one. So a child here is reaped by one place
alone, and only after what is left of its process group has been killed: until then neither the child's number nor
its group's can belong to anybody else. asyncio's own child processes are reaped at once, behind our back.
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
"""Bytes that are read at one time: what a pipe holds."""

_START_TIME: Final = 19
"""Where ``/proc/PID/stat`` has the time at which the process started, counted from behind the command's name."""


class ChildProcess:
    """A child process in a session of its own, with a pipe into it and its output in another.

    Parameters
    ----------
    command : sequence of str
        The program and its arguments.
    environment : mapping
        All its environment variables.
    folder : Path, optional
        Its current folder; by default that of this process.

    Raises
    ------
    OSError
        If it can't be started.

    Notes
    -----
    When the process has ended, `poll` and `wait` kill what is left of its process group before they reap it.
    A process that is forked from this one does not inherit the pipes' ends.
    """

    def __init__(self, command: Sequence[str], *, environment: Mapping[str, str], folder: Path | None = None) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - the caller's command, without a shell
            command,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=folder,
            start_new_session=True,
        )
        self.pid = self._process.pid
        self._returncode: int | None = None
        try:
            os.set_blocking(self._output.fileno(), False)
            self._end = _open_end(self.pid)
        except BaseException:
            os.killpg(self.pid, signal.SIGKILL)
            self._process.communicate()
            raise
        _children.add(self)

    @property
    def returncode(self) -> int | None:
        """The exit status, or the negative number of the signal that ended the process; None before it was reaped."""
        return self._returncode

    def poll(self) -> int | None:
        """Return the `returncode`; if the process is found to have ended, kill the rest of its group and reap it."""
        if self._returncode is not None:
            return self._returncode
        try:
            ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None
        except ChildProcessError:  # reaped by somebody else in this process: its numbers are not ours any more
            ended = True
        else:
            if ended:
                self._kill_group()
        if ended:
            self._returncode = self._process.wait()
            os.close(self._end)
            self._pipes[0].close()
        return self._returncode

    async def wait(self) -> int:
        """Return the `returncode` when the process has ended and the rest of its group was killed."""
        while (code := self.poll()) is None:
            end = os.dup(self._end)  # each descriptor can be waited for by one task only
            try:
                await anyio.wait_readable(end)
            finally:
                os.close(end)
        return code

    def terminate(self) -> None:
        """Send SIGTERM to the process, if it runs."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL to the process and to the rest of its group, if it runs."""
        if self.poll() is None:
            self._kill_group()

    async def output(self) -> AsyncGenerator[bytes]:
        """Yield what the process and its descendants write, until none of them can write any more, or `close`."""
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
        """Return what was written and not yet read: None if there is nothing now, empty if there won't be any more."""
        if self._output.closed:
            return b""
        try:
            return os.read(self._output.fileno(), _CHUNK)
        except BlockingIOError:
            return None

    def close(self) -> None:
        """Close the pipes' ends. To be called from within the event loop, where `output` may be waiting."""
        for pipe in self._pipes:
            if not pipe.closed:
                anyio.notify_closing(pipe)
                pipe.close()

    def disown(self) -> None:
        """Forget the process: this one is a fork of its parent."""
        for pipe in self._pipes:
            pipe.close()
        if self._returncode is None:
            os.close(self._end)
            self._returncode = self._process.returncode = 0

    @property
    def _output(self) -> IO[bytes]:
        return self._pipes[1]

    @property
    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        assert self._process.stdin is not None  # noqa: S101 - both were asked for
        assert self._process.stdout is not None  # noqa: S101 - as above
        return self._process.stdin, self._process.stdout

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


def _open_end(pid: int) -> int:
    """Return a descriptor that is readable once a child has ended."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):  # no Linux, an old one, or a sandbox that forbids it
        ours, theirs = os.pipe()
        threading.Thread(target=_close_at_end, args=(pid, theirs), daemon=True).start()
        return ours


def _close_at_end(pid: int, descriptor: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    os.close(descriptor)


_children: Final[weakref.WeakSet[ChildProcess]] = weakref.WeakSet()
"""Descriptors belong to the whole process, so what closes them in its forks does too."""


def _disown_all() -> None:
    for child in list(_children):
        child.disown()


os.register_at_fork(after_in_child=_disown_all)


def identify(pid: int) -> str:
    """Return what tells a process from all others, also from later ones with its number."""
    return f"{pid}:{_start_time(pid)}"


async def wait_gone(identity: str) -> None:
    """Return when a process has ended, be it a child or not; never where the system does not tell.

    Parameters
    ----------
    identity : str
        What `identify` has returned for it, in whichever process.
    """
    pid, _, started = identity.partition(":")
    try:
        end = os.pidfd_open(int(pid))
    except ProcessLookupError:
        return
    except (AttributeError, OSError):  # as in `_open_end`
        await anyio.sleep_forever()
    try:
        if _start_time(int(pid)) in {started, ""}:  # else the number is another process's by now
            await anyio.wait_readable(end)
    finally:
        os.close(end)


def _start_time(pid: int) -> str:
    """Return when a process started, in the system's own count; empty if it is not known."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[_START_TIME]

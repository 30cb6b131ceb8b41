"""The process of a slot: computes tiles one by one for its worker.

It communicates with its worker over a separate socket, so that stdout and stderr belong to the user, including what C
libraries write to file descriptor 1. A thread waits for the end of the socket: when the worker dies for any reason, the
process exits immediately, even during a tile.

The user's function may fork. A forked process never uses the socket, and ends like any Python process.
"""

import faulthandler
import json
import mmap
import os
import select
import shutil
import signal
import socket
import sys
import threading
import time
import traceback
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NoReturn

import numpy.random

from asyncbatch import folders
from asyncbatch.forking.server import Request
from asyncbatch.wire import codec
from asyncbatch.wire.processstate import ProcessState
from asyncbatch.wire.usercode import UserCode
from asyncbatch.worker.baseline import Baseline
from asyncbatch.worker.failures import describe_failure, is_named
from asyncbatch.worker.frames import CHUNK, GROUP_LIMIT, SKIPPED, STACKS_SIGNAL, Frame, FrameReader, write_head
from asyncbatch.worker.memory import limit_memory, prefer_as_victim, read_peak, reset_peak
from asyncbatch.worker.usermain import Presenter

INHERITED: Final = "ASYNCBATCH_INHERITED"
"""Variables that main's script had changed when it started this worker, as JSON; absent on another machine."""

_PROGRAMS: Final = 4
"""Number of unpickled programs to keep."""

_Loaded = tuple[ProcessState, Callable[..., object], UserCode]


def run(request: Request) -> NoReturn:
    """Serve until the worker closes the socket, which is the first descriptor; write stacks to the second.

    The argument ``memory`` is the limit of memory for tiles in bytes; 0 for no limit.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal reaches all processes; the worker decides
    for stream in (sys.stdout, sys.stderr):
        # Line-buffered, even with PYTHONUNBUFFERED, so that lines of different slots are not mixed.
        stream.reconfigure(line_buffering=True, write_through=False)  # type: ignore[union-attr]  # text, at start-up
    connection, pipe = request.descriptors
    stacks = open(pipe, "wb")  # noqa: PTH123, SIM115 - a descriptor, open as long as this process
    faulthandler.register(STACKS_SIGNAL, stacks, all_threads=True)
    prefer_as_victim()
    if limit := request.arguments["memory"]:
        limit_memory(limit)
    numpy.random.seed()  # noqa: NPY002 - otherwise all slots would draw the same random numbers
    inherited = os.environ.pop(INHERITED, None)
    baseline = Baseline(None if inherited is None else json.loads(inherited))
    os.register_at_fork(after_in_child=baseline.close_in_fork)
    folder = os.environ["TMPDIR"]
    slot = _Slot(
        connection=socket.socket(fileno=connection),
        folder=folder,
        run_folder=os.environ.get(folders.FOLDER),
        baseline=baseline,
        presenter=Presenter(Path(folder) / "main"),
    )
    os.register_at_fork(after_in_child=slot.connection.close)
    slot.serve()


@dataclass(slots=True, kw_only=True)
class _Slot:
    connection: socket.socket
    folder: str
    run_folder: str | None
    baseline: Baseline
    presenter: Presenter
    reader: FrameReader = field(default_factory=FrameReader)
    process: int = field(default_factory=os.getpid)
    programs: OrderedDict[str, _Loaded] = field(default_factory=OrderedDict)
    received: deque[Frame] = field(default_factory=deque)
    """Commands that arrived together with earlier ones."""
    group_began: float = 0.0

    def serve(self) -> NoReturn:
        """Handle commands one by one."""
        threading.Thread(target=self._wait_for_end, daemon=True).start()
        self._reply({"number": 0}, [])
        while True:
            command = self._receive()
            reset_peak()
            if command.head["number"] == command.head["first"]:
                self.group_began = time.monotonic()
            answer, parts = ({"outcome": SKIPPED}, []) if self._skips() else self._compute(command)
            about = {"number": command.head["number"], "damage": self.baseline.damage, "peak": read_peak()}
            self._reply({**about, **answer}, parts)
            self.reader.recycle(command)
            del command, parts  # which refer to the memory

    def _skips(self) -> bool:
        """Return whether the rest of a group is to be computed elsewhere."""
        return bool(self.baseline.damage) or time.monotonic() - self.group_began > GROUP_LIMIT

    def _compute(self, command: Frame) -> tuple[dict[str, Any], list[codec.Buffer]]:
        """Handle a command, and return the head and the parts of the response."""
        head = command.head
        started = time.perf_counter()
        try:
            state, program, code = self._program(head["program"], head["path"])
            self.baseline.enter(state)
            self.presenter.present(code)
            arguments: Any = codec.decode(command.read_body())
            args, kwargs, more = arguments
            if more is not None:
                self.presenter.present_more(more)
            started = time.perf_counter()
            try:
                value = program(*args, **kwargs)
            finally:
                seconds = time.perf_counter() - started
                if os.getpid() == self.process:
                    self.baseline.restore_essentials()
            if os.getpid() != self.process:
                _end_fork(None)
            return {"outcome": "ok", "seconds": seconds}, codec.encode(value, dump=self.presenter.dumps)
        except BaseException as error:  # noqa: BLE001 - sys.exit in the user's code is also a failure of the tile
            if os.getpid() != self.process:
                _end_fork(error)
            about = {
                "outcome": "error",
                "seconds": time.perf_counter() - started,
                "retry": is_named(error, head["retry_on"]),
            }
            return about, codec.encode(describe_failure(error, skip=__file__, dump=self.presenter.dumps))

    def _program(self, digest: str, path: str) -> _Loaded:
        """Return a program and the state it expects, unpickled at first use.

        Its arrays are copy-on-write views of the file, so the slots of a worker share one copy of the shared arguments.
        """
        if digest not in self.programs:
            with open(path, "rb") as file, self.baseline.keep_imported_variables():  # noqa: PTH123 - faster than pathlib
                program: Any = codec.decode(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)))
            *_, code = program
            self.presenter.prepare(code, Path(path))
            self.programs[digest] = program
            if len(self.programs) > _PROGRAMS:
                self.programs.popitem(last=False)
        self.programs.move_to_end(digest)
        return self.programs[digest]

    def _receive(self) -> Frame:
        """Return the next command."""
        while not self.received:
            try:
                got = self.connection.recv_into(self.reader.space())
            except ConnectionError:
                got = 0
            if not got:
                self._end()
            self.received += self.reader.advance(got)
        return self.received.popleft()

    def _reply(self, head: dict[str, Any], parts: list[codec.Buffer]) -> None:
        size = codec.size(parts)
        frame = [write_head(head, size), *parts]
        try:
            for part in [codec.join(frame)] if size < CHUNK else frame:
                self.connection.sendall(part)
        except ConnectionError:
            self._end()

    def _wait_for_end(self) -> None:
        """Wait until the worker is gone, and end the process."""
        waiting = select.poll()
        waiting.register(self.connection, 0)  # the end is always reported
        ((_, event),) = waiting.poll()
        if event & select.POLLHUP:  # not if the user's function has closed the socket
            self._end()

    def _end(self) -> NoReturn:
        """End the process, since the worker is gone. A worker that was killed has not removed its temporary folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.run_folder:
            folders.leave(Path(self.folder), Path(self.run_folder))
        os._exit(0)


def _end_fork(error: BaseException | None) -> NoReturn:
    """End a forked process that has returned from the user's function, as Python does."""
    status = 0 if error is None else 1
    if isinstance(error, SystemExit):
        if error.code is None or isinstance(error.code, int):
            status = error.code or 0
        else:
            print(error.code, file=sys.stderr)  # noqa: T201 - the same as in Python
    elif error is not None:
        traceback.print_exception(error)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):  # closed, or None
            continue
    os._exit(status & 0xFF)

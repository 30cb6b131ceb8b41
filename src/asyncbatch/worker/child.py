"""The process of a slot: computes one tile after another, at its worker's command.

It talks to its worker over a socket of their own, so that stdout and stderr are the user's, down to what a C
library writes to file descriptor 1. A thread reads that socket: when the worker dies, by whatever signal, the socket
ends and the process is gone at once, also from the middle of a tile.
"""

import json
import mmap
import os
import queue
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

import cloudpickle
import numpy as np  # noqa: F401 - nearly every tile needs it, so it is loaded before the first one comes

from asyncbatch import codec
from asyncbatch.messages import Failure

HEADER: Final = struct.Struct("<IQ")
"""Lengths of a frame's head (JSON) and of its body."""

_PROGRAMS: Final = 4
"""Programs kept unpickled."""


def main() -> None:
    """Serve until the worker closes the socket whose descriptor is the first argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal reaches all; the worker decides
    for stream in (sys.stdout, sys.stderr):
        # Line by line, also where PYTHONUNBUFFERED asks for less: what other slots print must not get in between.
        stream.reconfigure(line_buffering=True, write_through=False)  # type: ignore[union-attr]  # text, at start-up
    connection = socket.socket(fileno=int(sys.argv[1]))
    connection.set_inheritable(False)  # a process of the user's must not keep it open
    commands: queue.SimpleQueue[tuple[dict[str, Any], bytearray]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(connection, commands), daemon=True).start()
    programs: OrderedDict[str, Callable[..., object]] = OrderedDict()
    _reply(connection, {"ready": True}, [])
    while True:
        head, body = commands.get()
        answer, parts = _compute(programs, head, body)
        sys.stdout.flush()
        sys.stderr.flush()
        _reply(connection, answer, parts)


def _listen(connection: socket.socket, commands: "queue.SimpleQueue[tuple[dict[str, Any], bytearray]]") -> None:
    """Pass on the worker's commands; end the process when there will be no more."""
    try:
        while True:
            head_length, body_length = HEADER.unpack(_exactly(connection, HEADER.size))
            head = json.loads(_exactly(connection, head_length))
            commands.put((head, _exactly(connection, body_length)))
    except OSError:
        os._exit(0)


def _exactly(connection: socket.socket, count: int) -> bytearray:
    """Return the next `count` bytes, in memory that the user's function may write to."""
    content = bytearray(count)
    view = memoryview(content)
    while view:
        got = connection.recv_into(view)
        if not got:
            raise ConnectionResetError("the worker is gone")
        view = view[got:]
    return content


def _reply(connection: socket.socket, head: dict[str, Any], parts: list[codec.Buffer]) -> None:
    text = json.dumps(head).encode()
    connection.sendall(HEADER.pack(len(text), codec.size(parts)) + text)
    for part in parts:
        connection.sendall(part)


def _compute(
    programs: OrderedDict[str, Callable[..., object]], head: dict[str, Any], body: bytearray
) -> tuple[dict[str, Any], list[codec.Buffer]]:
    """Return the head and the parts of the answer to one command."""
    started = time.perf_counter()
    try:
        program = _program(programs, head["program"], head["path"])
        arguments: Any = codec.decode(body)
        args, kwargs = arguments
        started = time.perf_counter()
        value = program(*args, **kwargs)
        seconds = time.perf_counter() - started
        return {"outcome": "ok", "seconds": seconds}, codec.encode(value)
    except BaseException as error:  # noqa: BLE001 - sys.exit in the user's code is a failure of the tile too
        return {"outcome": "error", "seconds": time.perf_counter() - started}, codec.encode(_failure(error))


def _program(programs: OrderedDict[str, Callable[..., object]], digest: str, path: str) -> Callable[..., object]:
    """Return a program, unpickled when first asked for.

    Its arrays are views of the file, private to this process only where written to: the slots of a worker share one
    copy of the shared arguments.
    """
    if digest not in programs:
        with open(path, "rb") as file:  # noqa: PTH123 - this process starts often, and pathlib is not free
            program = codec.decode(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)))
        programs[digest] = program  # type: ignore[assignment]  # main pickles callables only
        if len(programs) > _PROGRAMS:
            programs.popitem(last=False)
    programs.move_to_end(digest)
    return programs[digest]


def _failure(error: BaseException) -> Failure:
    """Return what main needs to know of an exception: its traceback starts in the user's code, not in ours."""
    user = error.__traceback__
    while user is not None and user.tb_frame.f_globals.get("__name__") == __name__:
        user = user.tb_next
    shown = error.with_traceback(user)
    try:
        pickled: bytes | None = cloudpickle.dumps(shown.with_traceback(None))
    except Exception:  # noqa: BLE001 - pickling raises anything
        pickled = None
    lines = traceback.format_exception(type(error), error, user)
    return Failure(reason=lines[-1].strip(), traceback="".join(lines).rstrip(), exception=pickled)


if __name__ == "__main__":
    main()

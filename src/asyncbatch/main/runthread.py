"""Runs a dispatcher in a separate thread, for blocking callers, until the run has ended."""

import asyncio
import contextvars
import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import (
    Future,
    thread,  # noqa: F401 - see `_finish_runs`
)
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

import anyio

from asyncbatch.aws.session import open_session
from asyncbatch.errors import RunClosed, find_first
from asyncbatch.events import Observer
from asyncbatch.launchers import LauncherName
from asyncbatch.launchers.base import Launcher
from asyncbatch.launchers.registry import prepare_launcher
from asyncbatch.local import LocalEndpoint, open_local_endpoint
from asyncbatch.main.dispatcher import Dispatcher, Workers
from asyncbatch.main.phase import Phase
from asyncbatch.main.signals import LeavingByException
from asyncbatch.main.tile import Tile
from asyncbatch.settings import Settings

if TYPE_CHECKING:
    from asyncbatch.testing import MemoryAws

_CLOSED: Final = "the pool has been shut down"
_FORKED: Final = "the pool belongs to process {owner}, but this process ({pid}) is a fork of it; open another pool here"

_GLANCE: Final = 1.0
"""Seconds after which a waiting thread checks whether the run has ended, in case another waiter was interrupted."""

_STOPS: Final = 2
"""Number of Ctrl-C that are handled: the first cancels the tiles, the second shortens the end."""


class RunThread:
    """Keeps a run open, and ends it properly when the process ends.

    Parameters
    ----------
    workers, launcher, settings, observers
        As in `Dispatcher`.
    embedded : bool
        Whether to start an emulated AWS for this run.
    aws : MemoryAws, optional
        AWS in memory, to run in this run's event loop.
    """

    def __init__(
        self,
        *,
        workers: Workers,
        launcher: LauncherName | Launcher,
        settings: Settings,
        observers: Sequence[Observer],
        embedded: bool,
        aws: "MemoryAws | None" = None,
    ) -> None:
        self.endpoint: LocalEndpoint | None = None
        self._phase = Phase.OPEN
        # Held while the thread runs. A plain lock, since Ctrl-C may corrupt an Event that is being waited for, and in
        # CPython 3.11 an interrupted join marks a running thread as stopped.
        self._running = threading.Lock()
        self._owner = os.getpid()
        self._lock = threading.RLock()  # garbage collection may call `end` at any time
        self._feeders = 0
        self._signals = LeavingByException()
        self._workers = workers
        self._launcher = launcher
        self._settings = settings
        self._observers = observers
        self._embedded = embedded
        self._aws = aws
        self._dispatcher: Dispatcher | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._context = contextvars.Context()
        self._stop: anyio.Event | None = None

    def open(self) -> None:
        """Open the run, and return when tiles may be submitted.

        Raises
        ------
        AsyncBatchError
            If it can't be opened.
        """
        opened: Future[None] = Future()
        self._running.acquire()
        # A daemon, so that the script's end reaches `_finish_runs`, which then waits for this thread.
        threading.Thread(target=self._run, args=(opened,), name="asyncbatch", daemon=True).start()
        self._signals.start()
        _RUNS.add(self)
        try:
            opened.result()
        except BaseException:
            opened.cancel()  # the thread detects this and closes the run
            self.wait()
            raise

    @property
    def dispatcher(self) -> Dispatcher:
        """The dispatcher of the opened run."""
        if self._dispatcher is None:
            raise RunClosed(_CLOSED)
        return self._dispatcher

    @property
    def stopping(self) -> bool:
        """Whether no more tiles are accepted."""
        return self._phase >= Phase.DRAINING

    @property
    def cancelled(self) -> bool:
        """Whether the tiles that are not done have been cancelled."""
        return self._phase >= Phase.CANCELLED

    def check_open(self) -> None:
        """Raise an error if tiles can't be submitted.

        Raises
        ------
        RunClosed
            If the run is ending, or this process is a fork of the one that owns it.
        """
        if os.getpid() != self._owner:
            raise RunClosed(_FORKED.format(owner=self._owner, pid=os.getpid()))
        if self.stopping:
            raise RunClosed(_CLOSED)

    def enqueue(self, tile: Tile) -> None:
        """Pass a tile to the dispatcher. May be called from any thread.

        Raises
        ------
        RunClosed
            If the run has ended.
        """
        if self.cancelled:
            tile.future.cancel()
            tile.future.set_running_or_notify_cancel()
            return
        if not self._call(self.dispatcher.enqueue, tile):
            raise RunClosed(_CLOSED)

    def start_feeding(self) -> None:
        """Keep the run open until `stop_feeding`, for tiles that are accepted now and passed on later.

        Raises
        ------
        RunClosed
            If tiles can no longer be submitted.
        """
        with self._lock:
            self.check_open()
            self._feeders += 1

    def stop_feeding(self) -> None:
        """Note that all of these tiles have been passed on."""
        with self._lock:
            self._feeders -= 1
            self._close_if_over()

    def end(self) -> None:
        """Accept no more tiles, and end the run when existing tiles are done. Does not wait."""
        if os.getpid() != self._owner:
            return
        with self._lock:
            self._advance(Phase.DRAINING)
            self._close_if_over()

    def cancel(self) -> None:
        """Cancel all tiles that are not done."""
        with self._lock:
            self._advance(Phase.CANCELLED)
        if self._dispatcher is not None:
            self._call(self._dispatcher.cancel_all)
        with self._lock:
            self._close_if_over()

    def wait(self) -> None:
        """Wait until the run has ended and its resources are removed.

        Ctrl-C, or a signal that ends the process, cancels the tiles that are not done; a second one shortens the end.
        Either is raised when the run has ended.
        """
        if os.getpid() != self._owner:
            return
        first: BaseException | None = None
        stops = 0
        while self._phase is not Phase.ENDED:
            try:
                if stops:
                    self._give_up(stops)
                if self._running.acquire(timeout=_GLANCE):
                    self._running.release()
            except (KeyboardInterrupt, SystemExit) as error:
                first = first or error
                stops += 1
                if stops > _STOPS:
                    raise
        self._signals.stop()
        if first is not None:
            raise first

    def finish(self) -> None:
        """Finish the run at the end of the script: its tiles are computed, unless the user has requested to stop."""
        self.end()
        interrupted = not hasattr(sys, "ps1") and getattr(sys, "last_type", None) is KeyboardInterrupt
        if interrupted or self._signals.received is not None:
            self.cancel()
        self.wait()

    def _give_up(self, stops: int) -> None:
        """Cancel the tiles, and shorten the end if the user has requested to stop more than once."""
        self.end()
        self.cancel()
        if stops >= _STOPS and self._dispatcher is not None:
            self._call(self._dispatcher.shorten_end)

    def _call(self, function: Callable[..., object], *args: object) -> bool:
        """Call a function in the run's thread; return False if the thread has not started or has ended."""
        if self._loop is None:
            return False
        try:
            self._loop.call_soon_threadsafe(function, *args, context=self._context)
        except RuntimeError:
            return False
        return True

    def _advance(self, phase: Phase) -> None:
        self._phase = max(self._phase, phase)

    def _close_if_over(self) -> None:
        if self.stopping and self._stop is not None and (self.cancelled or not self._feeders):
            self._call(self._stop.set)

    def _run(self, opened: Future[None]) -> None:
        try:
            anyio.run(self._serve, opened)
        finally:
            with self._lock:
                self._advance(Phase.ENDED)
            self._running.release()

    async def _serve(self, opened: Future[None]) -> None:
        """Keep the run open until it is stopped."""
        try:
            async with AsyncExitStack() as stack:
                settings = self._settings
                launcher = await stack.enter_async_context(prepare_launcher(self._launcher))
                if self._embedded:
                    self.endpoint = await stack.enter_async_context(open_local_endpoint(settings))
                    settings = self.endpoint.settings
                elif self._aws is not None:
                    settings = await stack.enter_async_context(self._aws.running(settings))
                # Not anyio's portal, in which each submission would wait for an iteration of the loop.
                # In the run's context, from which anyio determines the event loop if sniffio is installed.
                self._context = contextvars.copy_context()
                self._loop = asyncio.get_running_loop()
                self._stop = anyio.Event()
                self._dispatcher = await stack.enter_async_context(
                    Dispatcher(
                        workers=self._workers,
                        launcher=launcher,
                        settings=settings,
                        credentials=self.endpoint.credentials if self.endpoint else None,
                        observers=self._observers,
                        open_session=self._aws.open_session if self._aws else open_session,
                        keep_failed=self._aws is None,
                    )
                )
                opened.set_result(None)
                await self._stop.wait()
        except BaseException as error:
            if opened.cancelled():
                return
            if opened.done():
                raise
            opened.set_exception(find_first(error))


_RUNS: Final[weakref.WeakSet[RunThread]] = weakref.WeakSet()
"""The runs of this process, to finish at its end."""


def _finish_runs() -> None:
    """Finish all runs; if a signal arrives during this, end the process with its status."""
    try:
        for run in list(_RUNS):
            run.finish()
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except SystemExit as error:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(error.code if isinstance(error.code, int) else 1)


# As in `concurrent.futures`: at this point threads can still be started and host names resolved, but not in `atexit`.
# Callbacks run in reverse order of registration, and runs need the event loop's executor until they end, to resolve
# names and open connections. Therefore its module, which Python imports lazily, is imported above.
threading._register_atexit(_finish_runs)  # type: ignore[attr-defined]  # noqa: SLF001 - there is no public function

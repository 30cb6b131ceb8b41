"""The blocking way in: a `concurrent.futures.Executor` over the dispatcher."""

import asyncio
import atexit
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future
from contextlib import AsyncExitStack
from time import monotonic
from types import TracebackType
from typing import Any, Final, Self

import anyio

from asyncbatch.errors import RunClosed, SettingsError, find_first
from asyncbatch.local import LocalEndpoint, local_endpoint
from asyncbatch.main.dispatcher import Dispatcher, LauncherName, Status, Workers
from asyncbatch.main.launchers import Launcher
from asyncbatch.main.program import Program, encode_arguments
from asyncbatch.main.ticket import Ticket
from asyncbatch.settings import Settings

_CLOSED: Final = "the pool has been shut down"


class BatchExecutor(Executor):
    """Computes tiles on workers: of AWS Batch, or processes of this machine.

    Parameters
    ----------
    workers : int or "auto"
        Workers to start; ``auto``: as many as the tiles at hand are worth, up to the stack's ``BatchMaxJobs``.
    launcher : {"batch", "subprocess"} or Launcher
        What starts them.
    settings : Settings, optional
        By default from the environment.
    embedded : bool
        Whether to start an emulated AWS with a stack of its own, for this pool alone; see `local`.

    Raises
    ------
    SettingsError
        If a setting is not usable.
    AwsError
        If the stack can't be used.

    Notes
    -----
    The pool is open when the constructor returns; workers come up meanwhile. Functions may be passed as they are:
    what they refer to in modules beside the user's script travels along.
    """

    def __init__(
        self,
        workers: Workers,
        *,
        launcher: LauncherName | Launcher = "batch",
        settings: Settings | None = None,
        embedded: bool = False,
    ) -> None:
        self._stopping = False
        self._endpoint: LocalEndpoint | None = None
        opened: Future[None] = Future()
        # A daemon, so that a script that never shuts the pool down can end: `_at_exit` does it then.
        self._thread = threading.Thread(
            target=anyio.run,
            args=(self._serve, opened, workers, launcher, settings or Settings.from_environment(), embedded),
            name="asyncbatch",
            daemon=True,
        )
        self._thread.start()
        try:
            opened.result()
        except KeyboardInterrupt:
            opened.cancel()  # the thread finds nobody waiting, and takes down what it has built
            self._thread.join()
            raise
        atexit.register(self._at_exit)

    @classmethod
    def local(
        cls, workers: Workers = 2, *, launcher: LauncherName | Launcher = "subprocess", settings: Settings | None = None
    ) -> Self:
        """Return a pool on the embedded endpoint, with a stack of its own and workers on this machine.

        Raises
        ------
        SettingsError
            If the emulator is not installed.
        """
        return cls(workers, launcher=launcher, settings=settings, embedded=True)

    def program(self, fn: Callable[..., Any], /, *shared: object, **named: object) -> Program:
        """Pickle a function with its shared arguments: uploaded once, and then to be used in place of `fn`.

        The shared arguments come before a tile's own, as with `functools.partial`.

        Raises
        ------
        ProgramError
            If they do not pickle; it names the part that does not.
        """
        return Program.of(fn, shared, named)

    def submit(self, fn: Callable[..., Any] | Program, /, *args: object, **kwargs: object) -> Future[Any]:
        """Have one tile computed.

        Raises
        ------
        ProgramError
            If the function or an argument does not pickle.
        RunClosed
            If the pool has been shut down.
        """
        if self._stopping:
            raise RunClosed(_CLOSED)
        ticket = Ticket(program=self._dispatcher.programmed(fn), parts=encode_arguments(args, kwargs))
        try:
            self._loop.call_soon_threadsafe(self._dispatcher.enqueue, ticket)
        except RuntimeError as error:
            raise RunClosed(_CLOSED) from error
        return ticket.future

    def map(
        self,
        fn: Callable[..., Any] | Program,
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,  # noqa: ARG002 - as the base class has it; tiles are large enough
    ) -> Iterator[Any]:
        """Compute `fn` for the items of the iterables, and return an iterator of the results in their order.

        The iterables are read only as far ahead as the window reaches, so they may be endless.

        Parameters
        ----------
        timeout : float, optional
            Seconds from now in which a result must have come.
        """
        deadline = None if timeout is None else monotonic() + timeout
        program = self._dispatcher.programmed(fn)
        tiles = zip(*iterables, strict=False)
        pending: deque[Future[Any]] = deque()
        self._fill(pending, program, tiles)
        return self._results(pending, program, tiles, deadline)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as the base class has it
        """Take no more tiles, and end the run.

        Parameters
        ----------
        wait : bool
            Whether to return only when all is done and nothing of the run is left.
        cancel_futures : bool
            Whether to give up the tiles that are not done: those that wait are cancelled, those under way raise
            `RunClosed`.
        """
        self._stopping = True
        try:
            if cancel_futures:
                self._loop.call_soon_threadsafe(self._dispatcher.abandon, RunClosed(_CLOSED))
            self._loop.call_soon_threadsafe(self._stop.set)
        except RuntimeError:  # has ended already
            atexit.unregister(self._at_exit)
        if wait:
            self._thread.join()
            atexit.unregister(self._at_exit)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Shut down; after an exception, Ctrl-C for one, without waiting for the tiles under way."""
        self.shutdown(wait=True, cancel_futures=error is not None)

    @property
    def run(self) -> str:
        """The run's id, for ``asyncbatch logs``."""
        return self._dispatcher.run

    @property
    def outputs(self) -> Mapping[str, str]:
        """The stack's outputs, by name."""
        return self._dispatcher.outputs

    @property
    def window(self) -> int:
        """Tiles that may be under way at one time; it grows as workers come up."""
        return self._dispatcher.window

    def status(self) -> Status:
        """Return where the run stands."""
        return self._dispatcher.status()

    def requests(self) -> dict[str, int]:
        """Return the requests that a local pool's endpoint has had, by ``service:Operation``.

        Raises
        ------
        SettingsError
            If this is not a local pool: AWS does not tell.
        """
        if self._endpoint is None:
            raise SettingsError("only a local pool's endpoint counts its requests")
        return self._endpoint.requests()

    async def _serve(
        self,
        opened: Future[None],
        workers: Workers,
        launcher: LauncherName | Launcher,
        settings: Settings,
        embedded: bool,  # noqa: FBT001 - called by the thread's start alone
    ) -> None:
        """Hold the run open, in a thread of its own, until told to stop."""
        try:
            async with AsyncExitStack() as stack:
                if embedded:
                    self._endpoint = await stack.enter_async_context(local_endpoint(settings))
                # Not anyio's portal: there, each submission would wait for a turn of the loop.
                self._loop = asyncio.get_running_loop()
                self._stop = anyio.Event()
                self._dispatcher = await stack.enter_async_context(
                    Dispatcher(
                        workers=workers,
                        launcher=launcher,
                        settings=self._endpoint.settings if self._endpoint else settings,
                        credentials=self._endpoint.credentials if self._endpoint else None,
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

    def _fill(self, pending: deque[Future[Any]], program: Program, tiles: Iterator[tuple[Any, ...]]) -> None:
        while len(pending) < self.window and (args := next(tiles, None)) is not None:
            pending.append(self.submit(program, *args))

    def _results(
        self,
        pending: deque[Future[Any]],
        program: Program,
        tiles: Iterator[tuple[Any, ...]],
        deadline: float | None,
    ) -> Iterator[Any]:
        try:
            while pending:
                left = None if deadline is None else max(0.0, deadline - monotonic())
                yield pending.popleft().result(left)
                self._fill(pending, program, tiles)
        finally:
            for future in pending:
                future.cancel()

    def _at_exit(self) -> None:
        self.shutdown(wait=True, cancel_futures=True)

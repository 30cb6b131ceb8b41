"""The dispatcher: opens a run, starts its workers, and ends it, in one event loop.

The scheduler moves its tiles.
"""

import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, ParamSpec, Self, TypeVar, overload

import anyio
import anyio.lowlevel

from asyncbatch.aws.session import AwsSession, Credentials, open_session
from asyncbatch.aws.stacks import Stacks
from asyncbatch.errors import AsyncBatchError
from asyncbatch.events import Observer, RunEnded, RunOpened
from asyncbatch.launchers import LauncherName
from asyncbatch.launchers.base import Launcher
from asyncbatch.launchers.output import show_warnings
from asyncbatch.launchers.registry import open_launcher, prepare_launcher
from asyncbatch.local import open_local_endpoint
from asyncbatch.main.arguments import check_arguments, check_map
from asyncbatch.main.fleet import Fleet
from asyncbatch.main.futures import take
from asyncbatch.main.liveness import Liveness
from asyncbatch.main.observers import EventLog, Observers, Tally
from asyncbatch.main.options import OnError, RetryOn, check_on_error
from asyncbatch.main.program import Program, ProgramCache
from asyncbatch.main.run import Cleanup, open_run
from asyncbatch.main.scheduler import Scheduler
from asyncbatch.main.status import Status
from asyncbatch.main.storage.replays import Replays
from asyncbatch.main.storage.resumption import resume_map
from asyncbatch.main.supervisor import Supervisor
from asyncbatch.main.tile import Tile, make_tile
from asyncbatch.main.windowed import TileWindow
from asyncbatch.settings import Settings

if TYPE_CHECKING:
    from asyncbatch.testing import MemoryAws

P = ParamSpec("P")
T = TypeVar("T")

log: Final = logging.getLogger(__name__)

Workers = int | Literal["auto"]
OpenSession = Callable[..., AbstractAsyncContextManager[AwsSession]]
"""A function like `asyncbatch.aws.session.open_session`."""

_GRACE: Final = 2.0
"""Seconds that workers have to exit at the end of the run."""

_SHORT_GRACE: Final = 0.2
"""The same after tiles were cancelled: enough to wake workers that wait for tiles."""


async def wait_for(future: Future[Any], *, collect: bool = False) -> Any:  # noqa: ANN401 - see `take`
    """Wait for a future of `concurrent.futures` that this event loop's thread settles; for `collect`, see `take`."""
    settled = anyio.Event()
    future.add_done_callback(lambda _: settled.set())
    try:
        await settled.wait()
    except anyio.get_cancelled_exc_class():
        future.cancel()
        raise
    return take(future, collect=collect)


class Dispatcher:
    """A run, for asyncio. Use it with ``async with``.

    Parameters
    ----------
    workers : int or "auto"
        Number of workers; ``auto`` to scale with the backlog, up to the stack's ``BatchMaxJobs``.
    launcher : {"batch", "subprocess"} or Launcher
        Starts the workers: with AWS Batch, as processes on this machine, or your own launcher.
    settings : Settings, optional
        By default from the environment.
    credentials : Credentials, optional
        By default from the environment.
    observers : sequence of Observer
        They receive all events of the run; see `asyncbatch.events`.
    open_session : callable, optional
        Opens the session of AWS clients; see `in_memory`.
    keep_failed : bool
        Whether to keep failed tiles on this machine for ``asyncbatch replay``.

    Notes
    -----
    Delivery is at least once; the effect on main is exactly once: if workers are lost, a tile may be computed more than
    once, and its first result counts.
    """

    def __init__(
        self,
        *,
        workers: Workers,
        launcher: LauncherName | Launcher = "batch",
        settings: Settings | None = None,
        credentials: Credentials | None = None,
        observers: Sequence[Observer] = (),
        open_session: OpenSession = open_session,
        keep_failed: bool = True,
    ) -> None:
        self._workers = check_arguments(workers=workers, launcher=launcher, settings=settings)
        self._wanted_launcher = launcher
        self._settings = settings or Settings.from_environment()
        self._credentials = credentials
        self._open_session = open_session
        self._keep_failed = keep_failed
        self._programs = ProgramCache()
        self._cleanup = Cleanup()
        self._tally = Tally()
        self._observers = Observers([self._tally, EventLog(), *observers])

    @classmethod
    @asynccontextmanager
    async def local(
        cls, workers: Workers = 2, *, settings: Settings | None = None, observers: Sequence[Observer] = ()
    ) -> AsyncIterator[Self]:
        """Open a run on the embedded endpoint, with its own stack and workers on this machine.

        Raises
        ------
        AwsError
            If the endpoint does not start.
        """
        chosen = settings or Settings.from_environment()
        async with (
            prepare_launcher("subprocess") as launcher,
            open_local_endpoint(chosen) as local,
            cls(
                workers=workers,
                launcher=launcher,
                settings=local.settings,
                credentials=local.credentials,
                observers=observers,
            ) as dispatcher,
        ):
            yield dispatcher

    @classmethod
    @asynccontextmanager
    async def in_memory(
        cls,
        workers: Workers = 2,
        *,
        settings: Settings | None = None,
        observers: Sequence[Observer] = (),
        aws: "MemoryAws | None" = None,
    ) -> AsyncIterator[Self]:
        """Open a run on AWS in memory, for tests: workers are tasks of this event loop, and compute in this process.

        Parameters
        ----------
        workers : int or "auto"
            Workers to start.
        settings : Settings, optional
            By default from the environment.
        observers : sequence of Observer
            They receive all events of the run.
        aws : MemoryAws, optional
            The account, for example with faults; by default a new one.
        """
        from asyncbatch.testing import MemoryAws  # noqa: PLC0415 - imports the workers' modules, which other runs do not need

        account = aws or MemoryAws()
        async with (
            account.running(settings or Settings.from_environment()) as chosen,
            cls(
                workers=workers,
                settings=chosen,
                observers=observers,
                open_session=account.open_session,
                keep_failed=False,
            ) as dispatcher,
        ):
            yield dispatcher

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(show_warnings())
            session = await stack.enter_async_context(
                self._open_session(
                    region=self._settings.region,
                    endpoint_url=self._settings.endpoint_url,
                    credentials=self._credentials,
                    outage=self._settings.outage,
                )
            )
            outputs = await (await Stacks.open(session)).outputs(self._settings.stack)
            launcher = await open_launcher(self._wanted_launcher, session, outputs)
            self._run = await stack.enter_async_context(
                open_run(
                    self._settings,
                    session,
                    outputs,
                    runs_stack_jobs=launcher.runs_stack_jobs,
                    cleanup=self._cleanup,
                )
            )
            self._group = await stack.enter_async_context(anyio.create_task_group())
            self._start(launcher)
            self._stack = stack.pop_all()
        bucket = self._run.assignment.bucket
        self._observers.observe(RunOpened(run=self.run, bucket=bucket, workers=self._supervisor.wanted))
        return self

    def _start(self, launcher: Launcher) -> None:
        """Start the tasks that send tiles, receive results and start workers."""
        run = self._run
        assignment = run.assignment
        if self._credentials:
            assignment = replace(assignment, credentials=self._credentials.environment())
        self._supervisor = Supervisor(
            wanted=0 if self._workers == "auto" else self._workers,
            start_timeout=self._settings.start_timeout or launcher.start_timeout,
            started=anyio.current_time(),
            advice=launcher.suggest_next_step(self.run),
            vacating=launcher.replace_after,
            hearing=Liveness(limit=self._settings.run_lease),
        )
        self._scheduler = Scheduler(
            run,
            supervisor=self._supervisor,
            observers=self._observers,
            group=self._group,
            replays=Replays(run) if self._keep_failed else None,
        )
        self._scheduler.start()
        self._fleet = Fleet(
            run,
            launcher=launcher,
            assignment=assignment,
            supervisor=self._supervisor,
            ledger=self._scheduler.ledger,
            group=self._group,
            scales=self._workers == "auto",
        )
        for task in (run.keep_alive, self._fleet.run):
            self._group.start_soon(self._scheduler.run_guarded, task)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                await self._scheduler.wait_until_done()
        finally:
            failure = self._scheduler.failure
            try:
                with self._cleanup.bound("worker processes or jobs"):
                    await self._end()
            finally:  # the user's launcher may raise anything
                self._group.cancel_scope.cancel()
                await self._stack.__aexit__(None, None, None)
                self._observers.observe(RunEnded(run=self.run, error=failure))

    def program(self, fn: Callable[..., Any], /, *shared: object, **named: object) -> Program:
        """Pickle a function with its shared arguments, to upload once and use instead of `fn`.

        Raises
        ------
        ProgramError
            If they can't be pickled.
        """
        return Program.of(fn, shared, named)

    @overload
    async def compute(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...

    @overload
    async def compute(self, fn: Program, /, *args: object, **kwargs: object) -> Any: ...  # noqa: ANN401 - see below

    async def compute(self, fn: Callable[..., Any] | Program, /, *args: object, **kwargs: object) -> Any:
        """Compute one tile on a worker and return what `fn` returns.

        Raises
        ------
        TileError
            If `fn` raises an exception.
        TileLost
            If all attempts at the tile are lost.
        RunError
            If the run can't continue.
        """
        return await wait_for(self._submit(fn, args, kwargs).future)

    @overload
    def map(
        self,
        fn: Callable[..., T],
        /,
        *iterables: Iterable[object],
        tile_timeout: float | None = None,
        retry_on: RetryOn = (),
        on_error: Literal["raise"] = "raise",
        resume: str | None = None,
    ) -> AsyncIterator[T]: ...

    @overload
    def map(
        self,
        fn: Callable[..., Any] | Program,
        /,
        *iterables: Iterable[object],
        tile_timeout: float | None = None,
        retry_on: RetryOn = (),
        on_error: OnError = "raise",
        resume: str | None = None,
    ) -> AsyncIterator[Any]: ...

    async def map(
        self,
        fn: Callable[..., Any] | Program,
        /,
        *iterables: Iterable[object],
        tile_timeout: float | None = None,
        retry_on: RetryOn = (),
        on_error: OnError = "raise",
        resume: str | None = None,
    ) -> AsyncIterator[Any]:
        """Compute `fn` for the items of the iterables, and yield the results in order.

        The iterables are read only as far ahead as the window allows. For the options, see `BatchExecutor.map`.
        """
        check_map(fn, buffersize=None, chunksize=1, resume=resume)
        collect, program = check_on_error(on_error), self.to_program(fn)
        if tile_timeout is not None or retry_on:
            program = program.with_options(tile_timeout=tile_timeout, retry_on=retry_on)
        with ExitStack() as stack:
            if resume is not None:
                resumption = stack.enter_context(resume_map(resume, fn, chunksize=1))
                program = replace(program, resumption=resumption)
            tiles = stack.enter_context(TileWindow[Tile](lambda: self.window))
            for args in zip(*iterables, strict=False):
                tiles.add(self._submit(program, args, {}))
                await anyio.lowlevel.checkpoint()  # the input may be slow while results arrive
                while tiles.is_due:
                    yield await wait_for(tiles.pop().future, collect=collect)
            while tiles:
                yield await wait_for(tiles.pop().future, collect=collect)
            if program.resumption is not None:
                program.resumption.finish()

    def to_program(self, fn: Callable[..., Any] | Program) -> Program:
        """Return the program for `fn`; a function is pickled when it is first used. May be called from any thread."""
        return fn if isinstance(fn, Program) else self._programs.program(fn)

    @overload
    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]: ...

    @overload
    def submit(self, fn: Program, /, *args: object, **kwargs: object) -> Future[Any]: ...

    def submit(self, fn: Callable[..., Any] | Program, /, *args: object, **kwargs: object) -> Future[Any]:
        """Submit a tile and return its future, which this event loop's thread settles."""
        return self._submit(fn, args, kwargs).future

    def _submit(self, fn: Callable[..., Any] | Program, args: tuple[object, ...], kwargs: dict[str, object]) -> Tile:
        tile = make_tile(self.to_program(fn), args, kwargs)
        if not tile.future.done():
            self.enqueue(tile)
        return tile

    def enqueue(self, tile: Tile) -> None:
        """Queue a tile for sending."""
        self._scheduler.enqueue(tile)

    def cancel_all(self) -> None:
        """Cancel all tiles that are not done."""
        self._scheduler.cancel_all()

    def shorten_end(self) -> None:
        """Shorten the end of the run; resources may remain."""
        self._cleanup.shorten_end()

    @property
    def run(self) -> str:
        """The run's id, for ``asyncbatch logs``."""
        return self._run.manifest.run

    @property
    def outputs(self) -> Mapping[str, str]:
        """The stack's outputs, by name."""
        return self._run.outputs.values

    @property
    def window(self) -> int:
        """Maximum number of tiles in flight."""
        return self._scheduler.window

    @property
    def failure(self) -> AsyncBatchError | None:
        """The error that ended the run, if any."""
        return self._scheduler.failure

    def status(self) -> Status:
        """Return the status of the run."""
        return Status(
            tiles_done=self._tally.done,
            tiles_failed=self._tally.failed,
            tiles_in_flight=self._scheduler.ledger.in_flight,
            tiles_waiting=self._scheduler.ledger.waiting,
            workers_up=self._supervisor.up,
            workers_wanted=self._supervisor.wanted,
            tiles_copied=self._tally.copied,
            copies_faster=self._tally.copies_faster,
            seconds_gained=self._scheduler.measure_gain(),
            peak_memory=self._tally.peak_memory,
        )

    async def _end(self) -> None:
        """Stop the workers: those that receive a sentinel exit, others are terminated."""
        shortened = self._scheduler.unfinished
        self._fleet.close()
        self._scheduler.end()
        try:
            with anyio.move_on_after(_SHORT_GRACE if shortened else _GRACE):
                await self._scheduler.dismiss_workers()
        except AsyncBatchError as error:
            log.warning("can't send sentinels: %s", error, extra={"action": "sentinels_failed"})
        finally:
            await self._fleet.stop()

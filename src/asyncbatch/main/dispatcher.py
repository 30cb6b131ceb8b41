"""The dispatcher: many tiles under way at once, over one event loop.

It decides by the ledger, the crew and `batching`; here is only what they set in motion.
"""

import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from concurrent.futures import Future, InvalidStateError
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Literal, Self

import anyio

from asyncbatch.aws.jobs import Jobs
from asyncbatch.aws.session import AwsSession, Credentials, open_session
from asyncbatch.batching import Mean, Throughput, spare_time
from asyncbatch.errors import AsyncBatchError, RunClosed, RunError, SettingsError
from asyncbatch.ledger import Ledger
from asyncbatch.main.crew import Crew
from asyncbatch.main.inbound import Inbound
from asyncbatch.main.launchers import BatchLauncher, Launcher, SubprocessLauncher
from asyncbatch.main.outbound import Outbound
from asyncbatch.main.program import Program, ProgramCache, encode_arguments
from asyncbatch.main.run import Run, open_run, user
from asyncbatch.main.ticket import Ticket, outcome
from asyncbatch.messages import Goodbye, Hello, Message, Result
from asyncbatch.settings import Settings

log: Final = logging.getLogger(__name__)

LauncherName = Literal["batch", "subprocess"]

_LONGEST_SPARE: Final = 0.5
"""Seconds that an announcement or a result waits for others at most: progress is to be seen."""

_GOODBYE_GRACE: Final = 2.0
"""Seconds that workers have to leave by themselves at the run's end."""

_END_TIMEOUT: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Where a run stands."""

    tiles_done: int
    tiles_in_flight: int
    """Sent to the workers, and not back."""
    tiles_waiting: int
    """Submitted, and not sent."""
    workers_up: int
    workers_wanted: int


class Dispatcher:
    """A run, for asyncio users: opened by ``async with``.

    Parameters
    ----------
    workers : int
        Workers to start.
    launcher : {"batch", "subprocess"} or Launcher
        What starts them: AWS Batch, or processes on this machine; or a launcher of your own.
    settings : Settings, optional
        By default from the environment.
    credentials : Credentials, optional
        By default from the environment.

    Notes
    -----
    Delivery is at least once; the effect on main is exactly once: a tile may be computed more than once where
    workers are lost, and its first result is the one that counts.
    """

    def __init__(
        self,
        *,
        workers: int,
        launcher: LauncherName | Launcher = "batch",
        settings: Settings | None = None,
        credentials: Credentials | None = None,
    ) -> None:
        if workers < 1:
            raise SettingsError(f"workers is {workers}; it must be at least 1")
        self._workers = workers
        self._wanted_launcher = launcher
        self._settings = settings or Settings.from_environment()
        self._credentials = credentials
        self._ledger = Ledger(window=self._settings.window)
        self._tickets: dict[int, Ticket] = {}
        self._programs = ProgramCache()
        self._throughput = Throughput()
        self._seconds = Mean()
        self._failure: AsyncBatchError | None = None
        self._ending = False
        self._changed = anyio.Event()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            session = await stack.enter_async_context(
                open_session(
                    region=self._settings.region,
                    endpoint_url=self._settings.endpoint_url,
                    credentials=self._credentials,
                )
            )
            self._session = session
            self._run = run = await stack.enter_async_context(open_run(self._settings, session))
            self._launcher = launcher = await self._made_launcher(run, session)
            timeout = self._settings.start_timeout or launcher.start_timeout
            self._crew = Crew(wanted=self._workers, start_timeout=timeout, started=anyio.current_time())
            self._outbound = Outbound(run, patience=self._spare_time)
            self._inbound = Inbound(run, expecting=self._expecting, patience=self._spare_time, handle=self._handle)
            self._group = await stack.enter_async_context(anyio.create_task_group())
            for task in (run.keep_alive, self._outbound.run, self._inbound.run, self._supervise):
                self._group.start_soon(self._guarded, task)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                await self.drained()
        finally:
            with anyio.move_on_after(_END_TIMEOUT, shield=True):
                await self._end()
            self._group.cancel_scope.cancel()
            await self._stack.__aexit__(None, None, None)

    def program(self, fn: Callable[..., Any], /, *shared: object, **named: object) -> Program:
        """Pickle a function with its shared arguments, to be uploaded once and used in place of `fn`.

        Raises
        ------
        ProgramError
            If they do not pickle.
        """
        return Program.of(fn, shared, named)

    async def compute(self, fn: Callable[..., Any] | Program, /, *args: object, **kwargs: object) -> Any:  # noqa: ANN401
        """Compute one tile on a worker and return what `fn` returns.

        Raises
        ------
        TileError
            If `fn` raises.
        TileLost
            If no worker survives it.
        RunError
            If the run can't go on.
        """
        return await outcome(self.submit(fn, args, kwargs))

    async def map(self, fn: Callable[..., Any] | Program, /, *iterables: Iterable[object]) -> AsyncIterator[Any]:
        """Compute `fn` for the items of the iterables, and yield the results in order.

        The iterables are read only as far ahead as the window reaches.
        """
        program = self.programmed(fn)
        pending: deque[Future[Any]] = deque()
        try:
            for args in zip(*iterables, strict=False):
                pending.append(self.submit(program, args, {}))
                if len(pending) >= self.window:
                    yield await outcome(pending.popleft())
            while pending:
                yield await outcome(pending.popleft())
        finally:
            for future in pending:
                future.cancel()

    def programmed(self, fn: Callable[..., Any] | Program) -> Program:
        """Return the program for `fn`; a plain function is pickled when it is first seen. From any thread."""
        return fn if isinstance(fn, Program) else self._programs.program(fn)

    def submit(
        self, fn: Callable[..., Any] | Program, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> "Future[Any]":
        """Take in a tile and return its future, which this event loop's thread settles."""
        ticket = Ticket(program=self.programmed(fn), parts=encode_arguments(args, kwargs))
        self.enqueue(ticket)
        return ticket.future

    def enqueue(self, ticket: Ticket) -> None:
        """Take in a tile."""
        if self._failure is not None or self._ending:
            ticket.future.set_exception(self._failure or RunClosed("the pool has been shut down"))
            return
        if not self._tickets:
            self._throughput.begin(anyio.current_time())
        self._tickets[self._ledger.open()] = ticket
        self._pump()

    async def drained(self) -> None:
        """Return when no tile is under way or waiting."""
        while self._tickets:
            self._changed = anyio.Event()
            await self._changed.wait()

    def abandon(self, error: AsyncBatchError) -> None:
        """End the run for good: every tile under way or waiting fails with `error`."""
        if self._failure is None:
            self._failure = error
        for index, ticket in list(self._tickets.items()):
            self._ledger.settle(index)
            self._finish(index, ticket.future, error=self._failure)

    @property
    def window(self) -> int:
        """Tiles that may be under way at one time."""
        return self._ledger.width(self._crew.slots)

    def status(self) -> Status:
        """Return where the run stands."""
        return Status(
            tiles_done=self._ledger.settled,
            tiles_in_flight=self._ledger.under_way,
            tiles_waiting=self._ledger.waiting,
            workers_up=self._crew.up,
            workers_wanted=self._workers,
        )

    async def _made_launcher(self, run: Run, session: AwsSession) -> Launcher:
        launcher = self._wanted_launcher
        if launcher == "subprocess":
            return SubprocessLauncher(environment=self._credentials.environment() if self._credentials else None)
        if launcher == "batch":
            return BatchLauncher(
                await Jobs.open(session),
                queue=run.outputs.need("BatchProcessingJobQueueName", "by the launcher 'batch'"),
                definition=run.outputs.need("BatchProcessingJobDefinitionName", "by the launcher 'batch'"),
                user=user(),
                stack=self._settings.stack,
            )
        if isinstance(launcher, str):
            raise SettingsError(f"no launcher {launcher!r}; there are 'batch' and 'subprocess'")
        return launcher

    async def _guarded(self, task: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a background task; should it fail, every tile says so, and nobody waits for ever."""
        try:
            await task()
        except AsyncBatchError as error:
            self.abandon(error)
        except Exception as error:
            log.exception("unexpected error", extra={"action": "unexpected_error"})
            broken = RunError(f"the run broke down: {type(error).__name__}: {error}")
            broken.__cause__ = error
            self.abandon(broken)

    def _expecting(self) -> bool:
        return bool(self._tickets) or not self._crew.came_up or self._ending

    def _spare_time(self) -> float:
        if self._ending:
            return 0.0
        return spare_time(
            outstanding=self._ledger.under_way,
            slots=self._crew.slots,
            rate=self._throughput.rate(anyio.current_time()),
            seconds=self._seconds.value,
            most=_LONGEST_SPARE,
        )

    def _pump(self) -> None:
        """Send as many tiles as the window has room for."""
        self._inbound.wake()
        while (index := self._ledger.take(self._crew.slots)) is not None:
            ticket = self._tickets[index]
            if ticket.future.set_running_or_notify_cancel():
                self._group.start_soon(self._send, index, ticket)
            else:
                self._ledger.withdraw(index)
                self._forget(index)

    async def _send(self, index: int, ticket: Ticket) -> None:
        try:
            await self._outbound.send(index, ticket)
        except AsyncBatchError as error:
            self.abandon(error)
        else:
            self._ledger.announced(index)

    async def _handle(self, message: Message) -> None:
        """Act on what a worker says."""
        if isinstance(message, Result):
            await self._settle(message)
        elif isinstance(message, Hello):
            try:
                self._crew.hello(message)
            except RunError as error:
                self.abandon(error)
            self._pump()
        elif isinstance(message, Goodbye):
            log.info(
                "worker left",
                extra={
                    "action": "worker_left",
                    "worker": message.worker,
                    "reason": message.reason,
                    "tiles": message.tiles,
                    "busy_seconds": round(message.busy_seconds, 3),
                },
            )
            self._crew.goodbye(message)
        self._note_change()

    async def _settle(self, result: Result) -> None:
        """Take in a result: the first for its tile counts, any other is dropped."""
        if not self._ledger.settle(result.index):
            self._inbound.discard(result.body.key)
            return
        self._throughput.add(anyio.current_time())
        self._seconds.add(result.seconds)
        self._crew.progressed()
        self._pump()
        ticket = self._tickets[result.index]
        try:
            value = await self._inbound.value(result)
        except Exception as error:  # noqa: BLE001 - unpickling raises anything, and it concerns this tile alone
            self._finish(result.index, ticket.future, error=error)
        else:
            self._finish(result.index, ticket.future, value=value)
        self._inbound.discard(ticket.in_key, result.body.key)

    def _finish(
        self, index: int, future: "Future[Any]", *, value: object = None, error: BaseException | None = None
    ) -> None:
        try:
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(value)
        except InvalidStateError:  # cancelled, or failed with the run
            log.debug("nobody waits for this tile", extra={"action": "tile_unclaimed", "tile": index})
        self._forget(index)

    def _forget(self, index: int) -> None:
        self._tickets.pop(index, None)
        self._note_change()

    def _note_change(self) -> None:
        self._changed.set()

    async def _supervise(self) -> None:
        """Start the workers, and others in place of those that are lost while there is work."""
        await self._launcher.start(self._run.assignment, self._workers, self._group)
        while not self._ending:
            await anyio.sleep(self._launcher.interval)
            missing = self._crew.missing(await self._launcher.states(), anyio.current_time())
            if missing > 0 and self._tickets and not self._ending:
                log.warning("workers replaced", extra={"action": "workers_replaced", "count": missing})
                await self._launcher.start(self._run.assignment, missing, self._group)

    async def _end(self) -> None:
        """Send the workers home: idle ones leave at once, others are ended."""
        unfinished = bool(self._tickets) or self._failure is not None
        self._ending = True
        self.abandon(RunClosed("the pool was shut down before this tile was done"))
        self._inbound.hurry()
        try:
            await self._outbound.send_sentinels(self._workers)
            with anyio.move_on_after(0 if unfinished else _GOODBYE_GRACE):
                while self._crew.up:
                    self._changed = anyio.Event()
                    await self._changed.wait()
        except AsyncBatchError as error:
            log.warning("sentinels failed", extra={"action": "sentinels_failed", "why": error})
        await self._launcher.stop()

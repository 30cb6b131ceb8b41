"""The blocking way in: a `concurrent.futures.Executor` over the dispatcher."""

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, Self, TypeVar, overload

from asyncbatch.errors import SettingsError
from asyncbatch.events import Observer
from asyncbatch.launchers import LauncherName
from asyncbatch.launchers.base import Launcher
from asyncbatch.main.arguments import check_arguments
from asyncbatch.main.dispatcher import Status, Workers
from asyncbatch.main.mapping import map_eagerly, map_lazily
from asyncbatch.main.options import OnError, RetryOn, check_on_error
from asyncbatch.main.program import Program, encode_arguments
from asyncbatch.main.runthread import RunThread
from asyncbatch.main.ticket import Ticket
from asyncbatch.settings import Settings
from asyncbatch.wire.chunks import Chunks, compute_chunk

if TYPE_CHECKING:
    from asyncbatch.testing import MemoryAws

P = ParamSpec("P")
T = TypeVar("T")


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
    observers : sequence of Observer
        They get all events of the run, in the thread of its event loop; see `asyncbatch.events`.
    embedded : bool
        Whether to start an emulated AWS with a stack of its own, for this pool alone; see `local`.
    aws : MemoryAws, optional
        AWS in memory, in place of the real one; see `in_memory`.

    Raises
    ------
    SettingsError
        If an argument or a setting is not usable; it is a `ValueError` too.
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
        observers: Sequence[Observer] = (),
        embedded: bool = False,
        aws: "MemoryAws | None" = None,
    ) -> None:
        # Here too, so that no endpoint is started in vain.
        check_arguments(workers=workers, launcher=launcher, settings=settings)
        self._run = RunThread(
            workers=workers,
            launcher=launcher,
            settings=settings or Settings.from_environment(),
            observers=observers,
            embedded=embedded,
            aws=aws,
        )
        self._run.open()
        # A pool that is deleted ends as if it were shut down: what was submitted is computed.
        weakref.finalize(self, self._run.end).atexit = False

    @classmethod
    def local(
        cls,
        workers: Workers = 2,
        *,
        launcher: LauncherName | Launcher = "subprocess",
        settings: Settings | None = None,
        observers: Sequence[Observer] = (),
    ) -> Self:
        """Return a pool on the embedded endpoint, with a stack of its own and workers on this machine.

        Raises
        ------
        AwsError
            If the endpoint does not start.
        """
        return cls(workers, launcher=launcher, settings=settings, observers=observers, embedded=True)

    @classmethod
    def in_memory(
        cls,
        workers: Workers = 2,
        *,
        settings: Settings | None = None,
        observers: Sequence[Observer] = (),
        aws: "MemoryAws | None" = None,
    ) -> Self:
        """Return a pool on AWS in memory, for tests of your functions: it starts no process and opens no socket.

        A function goes through the real pickling, messages and checks, and is computed in a thread of this process,
        one tile at a time. It sees this process's folder and environment, and what it changes there stays changed.

        Parameters
        ----------
        workers : int or "auto"
            Workers to start.
        settings : Settings, optional
            By default from the environment.
        observers : sequence of Observer
            They get all events of the run.
        aws : MemoryAws, optional
            The account, for instance one on which things go wrong; by default a new one.

        Returns
        -------
        BatchExecutor
            The pool, open.

        Raises
        ------
        SettingsError
            If an argument or a setting is not usable.
        """
        from asyncbatch.testing import MemoryAws  # noqa: PLC0415 - the workers' modules, which no other pool needs

        return cls(workers, settings=settings, observers=observers, aws=aws or MemoryAws())

    def program(self, fn: Callable[..., Any], /, *shared: object, **named: object) -> Program:
        """Pickle a function with its shared arguments: uploaded once, and then to be used in place of `fn`.

        The shared arguments come before a tile's own, as with `functools.partial`.

        Raises
        ------
        ProgramError
            If they do not pickle; it names the part that does not.
        """
        return Program.of(fn, shared, named)

    @overload
    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]: ...

    @overload
    def submit(self, fn: Program, /, *args: object, **kwargs: object) -> Future[Any]: ...

    def submit(self, fn: Callable[..., Any] | Program, /, *args: object, **kwargs: object) -> Future[Any]:
        """Have one tile computed.

        The arguments are copied: what happens to them afterwards does not change the tile.

        Parameters
        ----------
        fn : callable or Program
            What to compute.
        *args, **kwargs
            Its arguments.

        Returns
        -------
        Future
            Of what `fn` returns. It may be cancelled until the result has come; a worker that has the tile by then
            computes it in vain. Its attribute `peak_memory` says, when it is done, the most bytes of memory that the
            slot's process had meanwhile.

        Raises
        ------
        ProgramError
            If the function or an argument does not pickle.
        RunClosed
            If the pool has been shut down, or this process is a fork of the one that opened it.
        """
        self._run.check_open()
        return self._submit(self._run.dispatcher.programmed(fn), args, kwargs).future

    @overload
    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
        tile_timeout: float | None = None,
        retry_on: RetryOn = (),
        on_error: Literal["raise"] = "raise",
    ) -> Iterator[T]: ...

    @overload
    def map(
        self,
        fn: Callable[..., Any] | Program,
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
        tile_timeout: float | None = None,
        retry_on: RetryOn = (),
        on_error: OnError = "raise",
    ) -> Iterator[Any]: ...

    def map(
        self,
        fn: Callable[..., Any] | Program,
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
        tile_timeout: float | None = None,
        retry_on: RetryOn = (),
        on_error: OnError = "raise",
    ) -> Iterator[Any]:
        """Compute `fn` for the items of the iterables, and return an iterator of the results in their order.

        All tiles are computed, whether the results are read or not. A thread reads the iterables as tiles get done,
        and pauses while results of more than 128 MiB wait to be read, so memory is bounded. Closing the iterator, for
        instance by leaving a ``for`` loop, cancels the tiles that are not done.

        Parameters
        ----------
        fn : callable or Program
            What to compute.
        *iterables : iterable
            Its arguments, up to the end of the shortest.
        timeout : float, optional
            Seconds from now in which a result must have come.
        chunksize : int
            Calls in a tile. Above 1 it saves requests where `fn` is quick; an error ends its whole tile, and
            `tile_timeout`, `retry_on` and the tiles' numbers are of tiles, not of calls.
        buffersize : int, optional
            Read the iterables lazily, in the thread that reads the results: at most so many tiles are submitted
            whose results have not been read. Use it for endless iterables.
        tile_timeout : float, optional
            Seconds that an attempt at a tile may take in its slot. By default the pool's setting, which is also how
            tiles that are submitted one by one have a limit: there, keywords are the function's. Or submit
            ``pool.program(fn).with_options(tile_timeout=...)``.
        retry_on : exception class, or sequence of them
            What `fn` may raise for its tile to be computed again, up to `max_attempts`. For tiles that are submitted
            one by one, use ``pool.program(fn).with_options(retry_on=...)``.
        on_error : {"raise", "collect"}
            ``raise``: a tile's error is raised where its result would have been read, and ends the iterator.
            ``collect``: the iterator has the error, a `TileError` or `TileLost`, in place of the result, and goes on.

        Returns
        -------
        iterator
            The results.

        Raises
        ------
        TypeError, ValueError
            If `buffersize` or `chunksize` is no integer, or not above 0.
        SettingsError
            If `tile_timeout`, `retry_on` or `on_error` is not usable.
        RunClosed
            If the pool has been shut down.
        """
        if buffersize is not None and not isinstance(buffersize, int):
            raise TypeError(f"buffersize is {buffersize!r}; it must be an integer or None")
        if buffersize is not None and buffersize < 1:
            raise ValueError(f"buffersize is {buffersize}; it must be None or above 0")
        if chunksize < 1:
            raise ValueError(f"chunksize is {chunksize}; it must be 1 or more")
        if chunksize > 1 and isinstance(fn, Program):
            raise SettingsError(f"chunksize is {chunksize}, but {fn.name} is a Program; pass the function itself")
        collect = check_on_error(on_error)
        self._run.check_open()
        calls = zip(*iterables, strict=False)
        if chunksize > 1:
            chunks = Chunks(calls, chunksize)
            program = self._run.dispatcher.program(compute_chunk, fn)
        else:
            program = self._run.dispatcher.programmed(fn)
        if tile_timeout is not None or retry_on:
            program = program.with_options(tile_timeout=tile_timeout, retry_on=retry_on)
        submit = partial(self._submit, program, kwargs={})
        tiles = calls if chunksize == 1 else iter(chunks)
        if buffersize is None:
            results = map_eagerly(self._run, submit, tiles, timeout, collect=collect)
        else:
            results = map_lazily(submit, tiles, buffersize, timeout, collect=collect)
        return results if chunksize == 1 else chunks.flatten(results)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as the base class has it
        """Take no more tiles, and end the run when those that were submitted are done.

        Parameters
        ----------
        wait : bool
            Whether to return only when all is done and nothing of the run is left. Otherwise the end of the script
            waits for it.
        cancel_futures : bool
            Whether to cancel the tiles that are not done.
        """
        self._run.end()
        if cancel_futures:
            self._run.cancel()
        if wait:
            self._run.wait()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Shut down; after an exception, Ctrl-C for one, the tiles that are not done are cancelled."""
        self.shutdown(wait=True, cancel_futures=error is not None)

    @property
    def run(self) -> str:
        """The run's id, for ``asyncbatch logs``."""
        return self._run.dispatcher.run

    @property
    def outputs(self) -> Mapping[str, str]:
        """The stack's outputs, by name."""
        return self._run.dispatcher.outputs

    @property
    def window(self) -> int:
        """Tiles that may be under way at one time; it grows as workers come up."""
        return self._run.dispatcher.window

    def status(self) -> Status:
        """Return where the run stands."""
        return self._run.dispatcher.status()

    def requests(self) -> dict[str, int]:
        """Return the requests that a local pool's endpoint has had, by ``service:Operation``.

        Raises
        ------
        SettingsError
            If this is not a local pool: AWS does not tell.
        """
        if self._run.endpoint is None:
            raise SettingsError("only a local pool's endpoint counts its requests")
        return self._run.endpoint.requests()

    def _submit(self, program: Program, args: tuple[object, ...], kwargs: dict[str, object]) -> Ticket:
        ticket = Ticket(program=program, content=encode_arguments(args, kwargs))
        self._run.enqueue(ticket)
        return ticket

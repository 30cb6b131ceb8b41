"""`BatchExecutor`: the `concurrent.futures.Executor` of a run."""

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, Self, TypeVar, overload

from asyncbatch.errors import SettingsError
from asyncbatch.events import Observer
from asyncbatch.launchers import LauncherName
from asyncbatch.launchers.base import Launcher
from asyncbatch.main.arguments import check_arguments, check_map
from asyncbatch.main.dispatcher import Workers
from asyncbatch.main.mapping import map_eagerly, map_lazily
from asyncbatch.main.options import OnError, RetryOn, check_on_error
from asyncbatch.main.program import Program
from asyncbatch.main.runthread import RunThread
from asyncbatch.main.status import Status
from asyncbatch.main.storage.resumption import resume_map
from asyncbatch.main.tile import Tile, make_tile
from asyncbatch.settings import Settings
from asyncbatch.wire.chunks import Chunks, compute_chunk

if TYPE_CHECKING:
    from asyncbatch.testing import MemoryAws

P = ParamSpec("P")
T = TypeVar("T")


class BatchExecutor(Executor):
    """An executor whose workers are jobs of AWS Batch, processes on this machine, or started by your own launcher.

    Parameters
    ----------
    workers : int or "auto"
        Number of workers; ``"auto"`` to scale with the backlog, up to the limits of the stack (``BatchMaxJobs``) and of
        the launcher.
    launcher : {"batch", "subprocess"} or Launcher
        Starts the workers. An instance can be used for one pool.
    settings : Settings, optional
        By default `Settings.from_environment`.
    observers : sequence of Observer
        Each receives all events of the run, in the thread of the run's event loop; see `asyncbatch.events`.
    embedded : bool
        Whether to start an emulated AWS with its own stack for this pool; see `local`.
    aws : MemoryAws, optional
        AWS in memory to use instead of AWS; see `in_memory`.

    Raises
    ------
    SettingsError
        If an argument or a setting is invalid; also a `ValueError`.
    AwsError
        If the stack can't be used.

    Notes
    -----
    When the constructor returns, tiles can be submitted; workers come up later. Functions need not be installed on
    workers: they are pickled with the user's own modules that they refer to. All methods may be called from any thread.

    Use it as a context manager, or call `shutdown`. A pool that is garbage collected, or still open at the end of the
    script, computes the submitted tiles and then ends.
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
        # Here too, so that no endpoint is started for invalid arguments.
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
        # A deleted pool ends as if it were shut down: submitted tiles are computed.
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
        """Return a pool on the embedded endpoint: an emulated AWS on this machine, with its own stack.

        Parameters
        ----------
        workers, launcher, settings, observers
            As in `BatchExecutor`.

        Returns
        -------
        BatchExecutor
            The pool, open.

        Raises
        ------
        SettingsError
            If an argument or a setting is invalid.
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
        """Return a pool on AWS in memory, for tests: it starts no process and opens no socket.

        Functions, arguments and results are pickled, sent and verified as on AWS. The functions run in a thread of this
        process, one tile at a time, with its working directory and environment variables: changes to these persist.

        Parameters
        ----------
        workers, settings, observers
            As in `BatchExecutor`.
        aws : MemoryAws, optional
            The AWS account, for example with faults; by default a new one.

        Returns
        -------
        BatchExecutor
            The pool, open.

        Raises
        ------
        SettingsError
            If an argument or a setting is invalid.
        """
        from asyncbatch.testing import MemoryAws  # noqa: PLC0415 - imports the workers' modules, which other pools do not need

        return cls(workers, settings=settings, observers=observers, aws=aws or MemoryAws())

    def program(self, fn: Callable[..., Any], /, *shared: object, **named: object) -> Program:
        """Pickle a function with arguments that all its tiles share. Pass the result to `submit` or `map` as ``fn``.

        A program is uploaded once, with the first tile that uses it, and workers keep it. Use it if large arguments are
        the same for all tiles, or for tiles with options (`Program.with_options`).

        Parameters
        ----------
        fn : callable
            The function.
        *shared, **named
            Arguments for every call. As with `functools.partial`, positional ones come before those of the tile.

        Returns
        -------
        Program
            The function and arguments as they are now: later changes do not affect it.

        Raises
        ------
        ProgramError
            If the function or an argument can't be pickled; the message names the part.
        """
        return Program.of(fn, shared, named)

    @overload
    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]: ...

    @overload
    def submit(self, fn: Program, /, *args: object, **kwargs: object) -> Future[Any]: ...

    def submit(self, fn: Callable[..., Any] | Program, /, *args: object, **kwargs: object) -> Future[Any]:
        """Submit one tile: a call ``fn(*args, **kwargs)`` on a worker.

        The function and the arguments are pickled here, in the calling thread, before `submit` returns. The tile is
        computed with their values at this moment; later changes to them do not affect it. A function that is submitted
        again is not pickled again unless what it refers to has changed.

        Parameters
        ----------
        fn : callable or Program
            The function.
        *args, **kwargs
            Its arguments.

        Returns
        -------
        Future
            The future of what `fn` returns. Its ``result()`` raises

            - `TileError` if `fn` raised an exception, which is its ``__cause__``, or if its result can't be pickled;
            - `TileTimeout` or `TileOutOfMemory` if the tile exceeded its limit in the last of its attempts;
            - `TileLost` if each worker that had the tile was lost, `max_attempts` times;
            - `RunError`, or another `AsyncBatchError`, if the run failed;
            - `CancelledError` if it was cancelled. It can be cancelled until its result has arrived, even if a worker
              is computing the tile.

            When it is done, its attribute ``peak_memory`` is the maximum memory of the process that computed the tile,
            in bytes; 0 if unknown.

        Raises
        ------
        ProgramError
            If the function or an argument can't be pickled; the message names the part.
        RunClosed
            If the pool has been shut down, or if this process is a fork of the one that opened it.

        Notes
        -----
        Each tile that is submitted occupies main's memory with its pickled arguments until it is sent, and with its
        result until its future is deleted. For many or large tiles use `map`, which limits both.
        """
        self._run.check_open()
        return self._submit(self._run.dispatcher.to_program(fn), args, kwargs).future

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
        resume: str | None = None,
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
        resume: str | None = None,
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
        resume: str | None = None,
    ) -> Iterator[Any]:
        """Compute `fn` for the items of the iterables, and return an iterator over the results in the same order.

        All tiles are computed, even if the results are not read. A background thread reads the iterables and pickles
        their items, as many ahead of the results as keep the workers busy. Closing the iterator, for instance by
        leaving a ``for`` loop, cancels the tiles that are not done.

        Parameters
        ----------
        fn : callable or Program
            The function. It is pickled before `map` returns.
        *iterables : iterable
            Its arguments; the shortest iterable ends the map. An item is pickled when it is read: change it later as
            you like. An exception of an iterable is raised by the iterator, after the results that precede it.
        timeout : float, optional
            Seconds from now after which the iterator raises `TimeoutError` if the next result has not arrived.
        chunksize : int
            Calls per tile. More than 1 saves requests if `fn` is fast. An error then fails all calls of its tile, and
            `tile_timeout`, `retry_on` and the numbers of tiles apply to tiles, not to calls.
        buffersize : int, optional
            Read the iterables lazily, in the thread that reads the results. At most this many tiles are submitted
            whose results have not been read. Use it for infinite iterables, or ones that may be read in one thread
            only.
        tile_timeout : float, optional
            Seconds that one attempt at a tile may take; by default the setting `tile_timeout`. For `submit`, whose
            keyword arguments are those of the function, use ``pool.program(fn).with_options(tile_timeout=...)``.
        retry_on : exception class, or sequence of them
            Exceptions of `fn` after which a tile is computed again, up to `max_attempts` times; by default none. For
            `submit`, use ``pool.program(fn).with_options(retry_on=...)``.
        on_error : {"raise", "collect"}
            ``raise``: the iterator raises a tile's error instead of its result, and ends.
            ``collect``: it returns the error, a `TileError` or `TileLost`, instead of the result, and continues.
        resume : str, optional
            A name for this computation. Results are stored on main's disk under it as they arrive, and the same call,
            with the same name, does not compute them again if main has died or tiles have failed. They are deleted when
            all results have been read; see "Resume" in docs/reliability.md.

        Returns
        -------
        iterator
            The results. Reading one may raise what a future of `submit` does, and `TimeoutError`.

        Raises
        ------
        TypeError
            If `buffersize` is not an integer.
        ValueError
            If `buffersize` or `chunksize` is less than 1.
        SettingsError
            If `tile_timeout`, `retry_on`, `on_error` or `resume` is invalid, or if `chunksize` is more than 1, or
            `resume` given, for a `Program`.
        ResumeRefused
            If the stored results are of another function, or if another process uses them.
        ProgramError
            If the function can't be pickled. If an item can't be, the iterator raises it.
        RunClosed
            If the pool has been shut down, or if this process is a fork of the one that opened it.

        Notes
        -----
        Main's memory holds the tiles in flight (see `window`) and the results that have not been read. While those
        exceed 128 MiB, no more items are read, except when the pool is shutting down: then all tiles are computed, and
        their results are kept.
        """
        check_map(fn, buffersize=buffersize, chunksize=chunksize, resume=resume)
        collect = check_on_error(on_error)
        self._run.check_open()
        calls = zip(*iterables, strict=False)
        if chunksize > 1:
            chunks = Chunks(calls, chunksize)
            program = self._run.dispatcher.program(compute_chunk, fn)
        else:
            program = self._run.dispatcher.to_program(fn)
        if tile_timeout is not None or retry_on:
            program = program.with_options(tile_timeout=tile_timeout, retry_on=retry_on)
        if resume is not None:
            program = replace(program, resumption=resume_map(resume, fn, chunksize=chunksize))
        submit = partial(self._submit, program, kwargs={})
        tiles = calls if chunksize == 1 else iter(chunks)
        if buffersize is None:
            results = map_eagerly(self._run, submit, tiles, timeout, collect=collect)
        else:
            results = map_lazily(submit, tiles, buffersize, timeout, collect=collect)
        if program.resumption is not None:
            results = program.resumption.read(results)
        return results if chunksize == 1 else chunks.flatten(results)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - the base class's signature
        """Accept no more tiles, and end the run when the submitted tiles are done.

        Parameters
        ----------
        wait : bool
            Whether to return only when the run has ended, its workers are stopped and its AWS resources are deleted.
            Otherwise this happens in the background, and the script does not exit before.
        cancel_futures : bool
            Whether to cancel the tiles that are not done.

        Raises
        ------
        KeyboardInterrupt, SystemExit
            If the user presses Ctrl-C or the process is terminated while this waits. The tiles that are not done have
            been cancelled then, and the run has ended.
        """
        self._run.end()
        if cancel_futures:
            self._run.cancel()
        if wait:
            self._run.wait()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Shut down and wait. After an exception, such as `KeyboardInterrupt`, cancel the tiles that are not done."""
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
        """Number of tiles that may be in flight; it grows as workers come up."""
        return self._run.dispatcher.window

    def status(self) -> Status:
        """Return the numbers of tiles and workers, by state."""
        return self._run.dispatcher.status()

    def requests(self) -> dict[str, int]:
        """Return the number of requests to a local pool's endpoint, by ``service:Operation``.

        Raises
        ------
        SettingsError
            If this is not a local pool: AWS does not count requests.
        """
        if self._run.endpoint is None:
            raise SettingsError("only the embedded endpoint counts requests; open the pool with BatchExecutor.local()")
        return self._run.endpoint.requests()

    def _submit(self, program: Program, args: tuple[object, ...], kwargs: dict[str, object]) -> Tile:
        tile = make_tile(program, args, kwargs)
        if not tile.future.done():
            self._run.enqueue(tile)
        return tile

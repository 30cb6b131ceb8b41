"""`map`: submits tiles in the background, and yields their results in order."""

import logging
import threading
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from functools import partial
from itertools import islice
from time import monotonic
from typing import Any, Final

from asyncbatch.errors import RunClosed
from asyncbatch.main.futures import InterruptibleCondition, take
from asyncbatch.main.runthread import RunThread
from asyncbatch.main.tile import Tile
from asyncbatch.main.windowed import TileWindow

log: Final = logging.getLogger(__name__)

Submit = Callable[[tuple[Any, ...]], Tile]

_UNREAD: Final = 128 * 2**20
"""Size of unread results in bytes above which submission pauses."""

_GLANCE: Final = 0.5
"""Seconds after which a waiting feeder checks whether the pool is being shut down."""


def map_eagerly(
    run: RunThread, submit: Submit, tiles: Iterator[tuple[Any, ...]], timeout: float | None, *, collect: bool
) -> Generator[Any, None, None]:
    """Submit all tiles from a separate thread, as fast as they are computed, and yield their results in order.

    Parameters
    ----------
    run : RunThread
        The opened run.
    submit : callable
        Submits a tile, given its arguments.
    tiles : iterator of tuple
        The tiles' arguments.
    timeout : float or None
        Seconds from now within which each result must arrive.
    collect : bool
        Whether to yield a tile's error instead of its result.
    """
    run.start_feeding()  # not in the thread, since the pool may be shut down before it starts
    feeder = _Feeder(run, submit, tiles, collect=collect)
    results = feeder.read(_deadline(timeout))
    weakref.finalize(results, feeder.forget).atexit = False
    threading.Thread(target=feeder.feed, name="asyncbatch-map", daemon=True).start()
    return results


def map_lazily(
    submit: Submit, tiles: Iterator[tuple[Any, ...]], buffersize: int, timeout: float | None, *, collect: bool
) -> Generator[Any, None, None]:
    """Submit `buffersize` tiles, and one more for each result that is read; yield the results in order."""
    window: TileWindow[Tile] = TileWindow(lambda: buffersize)
    for args in islice(tiles, buffersize):
        window.add(submit(args))
    return _read_lazily(submit, tiles, window, _deadline(timeout), collect=collect)


def _read_lazily(
    submit: Submit,
    tiles: Iterator[tuple[Any, ...]],
    window: TileWindow[Tile],
    deadline: float | None,
    *,
    collect: bool,
) -> Generator[Any, None, None]:
    with window:
        while window:
            result = take(window.first.future, _seconds_left(deadline), collect=collect)
            window.pop()
            if (args := next(tiles, None)) is not None:
                window.add(submit(args))
            yield result


def _deadline(timeout: float | None) -> float | None:
    return None if timeout is None else monotonic() + timeout


def _seconds_left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - monotonic())


class _Feeder:
    """One `map`: a thread submits its tiles, and the caller reads its results.

    The reader's generator refers to the feeder but not vice versa, so that an unreachable generator is garbage
    collected.
    """

    def __init__(self, run: RunThread, submit: Submit, tiles: Iterator[tuple[Any, ...]], *, collect: bool) -> None:
        self._run = run
        self._submit = submit
        self._tiles = tiles
        self._collect = collect
        self._changed = InterruptibleCondition(threading.RLock())  # garbage collection may call `forget` at any time
        self._entries: deque[Tile] = deque()
        """Tiles whose results have not been read, in order."""
        self._outstanding = 0
        self._unread = 0
        self._error: BaseException | None = None
        self._fed = False
        self._stopped = False
        self._forgotten = False

    def feed(self) -> None:
        """Submit all tiles; an error of the input is raised in place of its result."""
        try:
            for args in self._tiles:
                if not self._wait_for_room():
                    self._error = self._run.dispatcher.failure or RunClosed("the pool was shut down early")
                    break
                self._add(self._submit(args))
        except BaseException as error:  # noqa: BLE001 - the input is the user's code
            self._error = error
        finally:
            self._run.stop_feeding()
        with self._changed:
            self._fed = True
            self._changed.notify_all()
            if self._error is not None and self._forgotten and not self._stopped:
                log.warning("map ended early: %r", self._error, extra={"action": "map_ended_early"})

    def read(self, deadline: float | None) -> Generator[Any, None, None]:
        """Yield the results; if the iterator is closed early, cancel the other tiles."""
        try:
            while self._wait_for_tile(deadline):
                yield self._take(
                    deadline
                )  # not kept here, so that the caller may drop a result before the next arrives
            if self._error is not None:
                raise self._error
        finally:
            self._stop()

    def forget(self) -> None:
        """Drop results from now on, since they can't be read. The tiles are still computed."""
        with self._changed:
            self._forgotten = True
            self._entries.clear()
            self._changed.notify_all()

    def _wait_for_room(self) -> bool:
        """Wait until another tile may be submitted; return False if none can be submitted."""
        with self._changed:
            while not (over := self._is_over()) and not self._has_room():
                self._changed.wait(_GLANCE)
            return not over

    def _is_over(self) -> bool:
        return self._stopped or self._run.cancelled or self._run.dispatcher.failure is not None

    def _has_room(self) -> bool:
        unbounded = self._forgotten or self._run.stopping  # a pool that is shut down computes all its tiles
        return self._outstanding < self._run.dispatcher.window and (unbounded or self._unread < _UNREAD)

    def _add(self, tile: Tile) -> None:
        with self._changed:
            self._outstanding += 1
            if not self._forgotten:
                self._entries.append(tile)
            self._changed.notify_all()
        # A weak reference, since a future that refers to its tile would keep its result until the next garbage
        # collection.
        tile.future.add_done_callback(partial(self._note_done, weakref.ref(tile)))

    def _note_done(self, reference: weakref.ref[Tile], _: Future[Any]) -> None:
        tile = reference()
        with self._changed:
            self._outstanding -= 1
            self._unread += 0 if tile is None else tile.result_size
            self._changed.notify_all()

    def _wait_for_tile(self, deadline: float | None) -> bool:
        """Wait for the next tile to be submitted; return False if there are no more."""
        with self._changed:
            while not self._entries and not self._fed:
                if not self._changed.wait(_seconds_left(deadline)):
                    raise TimeoutError
            return bool(self._entries)

    def _take(self, deadline: float | None) -> Any:  # noqa: ANN401 - the result of the user's function
        """Return the next tile's result."""
        with self._changed:
            tile = self._entries.popleft()
        try:
            return take(tile.future, _seconds_left(deadline), collect=self._collect)
        finally:
            tile.future.cancel()  # unless it is done
            with self._changed:
                self._unread -= tile.result_size
                self._changed.notify_all()

    def _stop(self) -> None:
        with self._changed:
            self._stopped = True
            entries = list(self._entries)
            self._entries.clear()
            self._changed.notify_all()
        for tile in entries:
            tile.future.cancel()

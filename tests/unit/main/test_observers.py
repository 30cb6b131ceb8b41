"""Tests of the events that observers receive from runs in memory."""

import logging
from collections import Counter

import pytest

from asyncbatch import BatchExecutor, RunEnded, RunOpened, TileError, TileFailed, WorkerLeft, WorkerUp
from asyncbatch.events import Event, TileCancelled, TileDone, TileSent
from asyncbatch.main.observers import Observers


class Recorder:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def observe(self, event: Event, /) -> None:
        self.events.append(event)


def halve(number: int) -> float:
    return 1 / number


def test_observers_receive_all_events_of_a_run_in_order() -> None:
    recorder = Recorder()
    with BatchExecutor.in_memory(1, observers=[recorder]) as pool:
        assert pool.submit(halve, 2).result() == 0.5
        with pytest.raises(TileError):
            pool.submit(halve, 0).result()
        status = pool.status()
        run = pool.run
    assert (status.tiles_done, status.tiles_failed) == (1, 1)
    events = recorder.events
    assert isinstance(events[0], RunOpened)
    assert events[-1] == RunEnded(run=run, error=None)
    assert Counter(type(event) for event in events) == {
        RunOpened: 1,
        WorkerUp: 1,
        TileSent: 2,
        TileDone: 1,
        TileFailed: 1,
        WorkerLeft: 1,
        RunEnded: 1,
    }
    (done,) = [event for event in events if isinstance(event, TileDone)]
    (failed,) = [event for event in events if isinstance(event, TileFailed)]
    assert (done.tile, failed.tile) == (0, 1)
    assert isinstance(failed.error, TileError)
    assert events.index(TileSent(tile=0, size=next(e.size for e in events if isinstance(e, TileSent)))) < events.index(
        done
    )


def test_each_tile_is_either_done_or_cancelled() -> None:
    recorder = Recorder()
    with BatchExecutor.in_memory(1, observers=[recorder]) as pool:
        futures = [pool.submit(halve, 1) for _ in range(200)]
        cancelled = sum(future.cancel() for future in reversed(futures))
    kinds = Counter(type(event) for event in recorder.events)
    # A result can arrive after its future was cancelled.
    assert 200 - cancelled <= kinds[TileDone] == 200 - kinds[TileCancelled] < 200
    assert not kinds[TileFailed]


def test_observer_that_raises_is_removed(caplog: pytest.LogCaptureFixture) -> None:
    calls = []

    class Broken:
        def observe(self, event: Event, /) -> None:
            calls.append(event)
            raise ZeroDivisionError

    recorder = Recorder()
    observers = Observers([Broken(), recorder])
    event = TileCancelled(tile=1)
    with caplog.at_level(logging.ERROR):
        observers.observe(event)
        observers.observe(event)
    assert calls == [event]
    assert recorder.events == [event, event]
    assert [vars(record)["action"] for record in caplog.records] == ["observer_failed"]

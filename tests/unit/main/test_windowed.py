from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from asyncbatch.main.windowed import TileWindow


@dataclass(frozen=True, slots=True)
class Tile:
    future: Future[Any] = field(default_factory=Future)


def test_first_tile_is_due_when_it_is_done() -> None:
    window: TileWindow[Tile] = TileWindow(lambda: 3)
    assert not window.is_due
    first, second = Tile(), Tile()
    window.add(first)
    window.add(second)
    second.future.set_result(2)
    assert not window.is_due
    first.future.set_result(1)
    assert window.is_due
    assert (window.pop(), window.pop(), len(window)) == (first, second, 0)


def test_first_tile_is_due_when_the_window_is_full() -> None:
    limit = 2
    window: TileWindow[Tile] = TileWindow(lambda: limit)
    window.add(Tile())
    assert not window.is_due
    window.add(Tile())
    assert window.is_due
    limit = 3  # more workers are up
    assert not window.is_due


def test_tiles_that_are_not_read_are_cancelled() -> None:
    read, done, waiting = Tile(), Tile(), Tile()
    done.future.set_result(1)
    with TileWindow[Tile](lambda: 3) as window:
        for tile in (read, done, waiting):
            window.add(tile)
        assert window.pop() is read
    assert [tile.future.cancelled() for tile in (read, done, waiting)] == [False, False, True]

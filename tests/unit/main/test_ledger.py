from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from asyncbatch.errors import AsyncBatchError
from asyncbatch.main.ledger import Ledger
from asyncbatch.main.program import Program
from asyncbatch.main.tile import Tile

PROGRAM = Program.of(abs, (), {})


def make_tile() -> Tile:
    return Tile(program=PROGRAM, content=b"")


class Tiles(RuleBasedStateMachine):
    """Applies events to tiles in every order that can occur: late, duplicate or early."""

    @initialize()
    def start(self) -> None:
        self.ledger = Ledger()
        self.tiles: dict[int, Tile] = {}
        self.waiting: list[int] = []
        self.sending: set[int] = set()
        self.announced: set[int] = set()
        self.accepted: set[int] = set()
        self.results: Counter[int] = Counter()
        self.duplicates = 0

    @rule(count=st.integers(1, 100))
    def add(self, count: int) -> None:
        for _ in range(count):
            tile = make_tile()
            self.ledger.add(tile)
            assert tile.index == len(self.tiles)
            self.tiles[tile.index] = tile
            self.waiting.append(tile.index)

    @rule(window=st.integers(0, 100))
    def take(self, window: int) -> None:
        before = len(self.sending | self.announced)
        while (tile := self.ledger.take(window)) is not None:
            assert tile.index == self.waiting.pop(0), "tiles are taken in order"
            self.sending.add(tile.index)
        in_flight = len(self.sending | self.announced)
        assert in_flight <= max(window, before)
        assert in_flight >= window or not self.waiting, "the window is filled"

    @rule(data=st.data())
    @precondition(lambda self: self.tiles)
    def note_announced(self, data: st.DataObject) -> None:
        """Note the announcement of any sent tile, even if its result has arrived or it is done."""
        index = data.draw(st.sampled_from(sorted(self.tiles.keys() - set(self.waiting)) or [0]))
        if index in self.waiting:
            return
        self.ledger.note_announced(self.tiles[index])
        if index in self.sending:
            self.sending.discard(index)
            self.announced.add(index)

    @rule(data=st.data())
    @precondition(lambda self: self.tiles)
    def accept(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(self.tiles) - 1))
        first = index in self.sending | self.announced or index in self.waiting
        assert self.ledger.accept(index) is (self.tiles[index] if first else None)
        self.results[index] += first
        self.duplicates += not first
        if first:
            self.forget(index)
            self.accepted.add(index)

    @rule(data=st.data())
    @precondition(lambda self: self.tiles)
    def remove(self, data: st.DataObject) -> None:
        """Remove any tile, even one that was removed before."""
        index = data.draw(st.integers(0, len(self.tiles) - 1))
        self.ledger.remove(self.tiles[index])
        self.forget(index)

    @rule(beyond=st.integers(0, 5))
    def accept_unknown(self, beyond: int) -> None:
        for index in (len(self.tiles) + beyond, -1 - beyond):
            with pytest.raises(AsyncBatchError, match=rf"tile {index}; tiles 0 to {len(self.tiles) - 1} "):
                self.ledger.accept(index)

    @invariant()
    def check_counts(self) -> None:
        left = {*self.waiting, *self.sending, *self.announced, *self.accepted}
        assert self.ledger.in_flight == len(self.sending) + len(self.announced)
        assert self.ledger.waiting == len(self.waiting)
        assert self.ledger.backlog == len(left - self.accepted)
        assert {tile.index for tile in self.ledger.list_outstanding()} == self.announced
        assert {tile.index for tile in self.ledger} == left
        assert len(self.ledger) == len(left)
        assert all((self.ledger.get(index) is not None) == (index in left) for index in self.tiles)
        assert self.ledger.duplicates == self.duplicates

    @invariant()
    def check_results(self) -> None:
        assert set(self.results.values()) <= {0, 1}

    def teardown(self) -> None:
        if not hasattr(self, "ledger"):
            return
        for tile in self.ledger:
            self.ledger.remove(tile)
        assert self.ledger.take(1) is None
        nothing = Ledger(next_index=len(self.tiles), duplicates=self.duplicates)
        assert self.ledger == nothing, "done tiles are dropped"

    def forget(self, index: int) -> None:
        for tiles in (self.sending, self.announced, self.accepted):
            tiles.discard(index)
        if index in self.waiting:
            self.waiting.remove(index)


TestTiles = Tiles.TestCase
TestTiles.settings = settings(max_examples=20, stateful_step_count=25)


def test_result_that_arrives_before_the_announcement_returns_counts_once() -> None:
    ledger, tile = Ledger(), make_tile()
    ledger.add(tile)
    assert ledger.take(1) is tile
    assert ledger.accept(tile.index) is tile
    ledger.note_announced(tile)
    assert ledger.accept(tile.index) is None
    assert (ledger.duplicates, ledger.in_flight, len(ledger)) == (1, 0, 1)
    assert ledger.list_outstanding() == []

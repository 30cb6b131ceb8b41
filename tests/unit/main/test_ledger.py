from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from asyncbatch.errors import AsyncBatchError
from asyncbatch.main.ledger import Ledger


class Tiles(RuleBasedStateMachine):
    """A run's tiles in any order of events that the wire allows: late, twice, or before their time."""

    @initialize()
    def start(self) -> None:
        self.ledger = Ledger()
        self.opened = 0
        self.waiting: list[int] = []
        self.under_way: set[int] = set()
        self.sending: set[int] = set()
        self.ends: Counter[int] = Counter()
        self.duplicates = 0

    @rule(count=st.integers(1, 100))
    def open(self, count: int) -> None:
        indices = [self.ledger.open() for _ in range(count)]
        assert indices == list(range(self.opened, self.opened + count))
        self.waiting += indices
        self.opened += count

    @rule(window=st.integers(0, 100))
    def take(self, window: int) -> None:
        before = len(self.under_way)
        while (index := self.ledger.take(window)) is not None:
            assert index == self.waiting.pop(0), "the first to come is the first to go"
            self.under_way.add(index)
            self.sending.add(index)
        assert len(self.under_way) <= max(window, before)
        assert len(self.under_way) >= window or not self.waiting, "room is not left unused"

    @rule(data=st.data())
    @precondition(lambda self: self.opened)
    def announced(self, data: st.DataObject) -> None:
        """Whatever was sent: its result may be here already."""
        index = data.draw(st.sampled_from(sorted(self.sending) or [0]))
        self.ledger.announced(index)
        self.sending.discard(index)

    @rule(data=st.data())
    @precondition(lambda self: self.opened)
    def settle(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, self.opened - 1))
        unsettled = index in self.under_way or index in self.waiting
        assert self.ledger.settle(index) is unsettled
        self.ends[index] += unsettled
        self.duplicates += not unsettled
        self.forget(index)

    @rule(data=st.data())
    @precondition(lambda self: self.waiting or self.under_way)
    def withdraw(self, data: st.DataObject) -> None:
        index = data.draw(st.sampled_from(sorted({*self.waiting, *self.under_way})))
        assert self.ledger.withdraw(index) is (index in self.under_way - self.sending)
        self.forget(index)

    @rule(beyond=st.integers(0, 5))
    def settle_unknown(self, beyond: int) -> None:
        for index in (self.opened + beyond, -1 - beyond):
            with pytest.raises(AsyncBatchError, match=rf"tile {index}, but only tiles 0 to {self.opened - 1} "):
                self.ledger.settle(index)

    @invariant()
    def counts_agree(self) -> None:
        assert self.ledger.under_way == len(self.under_way)
        assert self.ledger.sending == len(self.sending)
        assert self.ledger.waiting == len(self.waiting)
        assert sorted(self.ledger.outstanding()) == sorted(self.under_way - self.sending)
        assert self.ledger.settled == self.ends.total()
        assert self.ledger.duplicates == self.duplicates

    @invariant()
    def no_tile_ends_twice(self) -> None:
        assert set(self.ends.values()) <= {0, 1}

    def teardown(self) -> None:
        if not hasattr(self, "ledger"):
            return
        for index in [*self.waiting, *self.under_way]:
            assert self.ledger.settle(index)
        assert self.ledger.take(1) is None
        nothing = Ledger(
            next_index=self.opened,
            settled=self.ledger.settled,
            duplicates=self.duplicates,
        )
        assert self.ledger == nothing, "of tiles that have ended, nothing is remembered"

    def forget(self, index: int) -> None:
        self.under_way.discard(index)
        self.sending.discard(index)
        if index in self.waiting:
            self.waiting.remove(index)


TestTiles = Tiles.TestCase
TestTiles.settings = settings(max_examples=30, stateful_step_count=30)


def test_a_result_before_the_announcement_returned_counts_once() -> None:
    ledger = Ledger()
    index = ledger.open()
    assert ledger.take(1) == index
    assert ledger.settle(index)
    ledger.announced(index)
    assert not ledger.settle(index)
    assert (ledger.settled, ledger.duplicates, ledger.under_way) == (1, 1, 0)
    assert ledger.outstanding() == []

import threading
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from asyncbatch.main.copies import Copies, Copy


class Other:
    def __init__(self, **attributes: object) -> None:
        self.__dict__.update(attributes)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever a test sets
        raise AttributeError(name)


class Slotted:
    __slots__ = ("total",)

    def __init__(self) -> None:
        self.total = 0


def list_copies(others: list[Any]) -> list[dict[str, Any]]:
    return [vars(other) for other in others]


def test_each_copy_is_returned_as_after_its_last_tile() -> None:
    copies, copy = Copies(sent=Other(total=0, weights=[1, 2])), Copy
    first, second = copy(Other(total=0, weights=[1, 2])), copy(Other(total=0, weights=[1, 2]))
    states = []
    for slot, amount in ((first, 5), (second, 7), (first, 10)):
        slot.value.total += amount
        states.append(slot.note_tile())
    assert states[0].changed == {"total": 5}, "unchanged copies are not returned"
    for state in reversed(states):  # results arrive in any order
        copies.note(state)
    assert sorted(list_copies(copies.list_copies(0)), key=lambda other: other["total"]) == [
        {"total": 7, "weights": [1, 2]},
        {"total": 15, "weights": [1, 2]},
    ]


def test_there_is_a_copy_for_each_worker() -> None:
    copies = Copies(sent=Other(total=0))
    assert list_copies(copies.list_copies(3)) == [{"total": 0}] * 3


def test_changed_arrays_and_new_and_removed_names_are_returned() -> None:
    sent = Other(histogram=np.zeros(3), scratch=1)
    copies, copy = Copies(sent=sent), Copy
    slot = copy(Other(histogram=np.zeros(3), scratch=1))
    slot.value.histogram[1] += 4
    slot.value.seen = "yes"
    del slot.value.scratch
    copies.note(slot.note_tile())
    back: Any = copies.list_copies(1)[0]
    assert back.histogram.tolist() == [0, 4, 0]
    assert (back.seen, hasattr(back, "scratch")) == ("yes", False)
    assert sent.histogram.tolist() == [0, 0, 0]


def test_values_that_can_not_be_pickled_are_not_returned() -> None:
    copies, copy = Copies(sent=Other(total=0)), Copy
    slot = copy(Other(total=0))
    slot.value.total, slot.value.cache = 3, threading.Lock()
    copies.note(slot.note_tile())
    assert list_copies(copies.list_copies(1)) == [{"total": 3}]
    assert copies.list_unsent() == ["cache"]


@pytest.mark.parametrize(
    ("sent", "change"),
    [
        ({"total": 0}, lambda value: value.update(total=3)),
        ([], lambda value: value.append(3)),
        (Counter("a"), lambda value: value.update("bc")),
        (defaultdict(int), lambda value: value.__setitem__("a", 3)),
        (np.zeros(3), lambda value: value.__setitem__(1, 3)),
        (Slotted(), lambda value: setattr(value, "total", 3)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_object_with_more_than_attributes_is_returned_completely(sent: object, change: Callable[[Any], None]) -> None:
    copies, slot = Copies(sent="unchanged"), Copy(sent)
    assert slot.note_tile().changed == {}
    change(slot.value)
    copies.note(slot.note_tile())
    [back] = copies.list_copies(1)
    assert back is sent
    assert copies.list_changed() == [""]


def test_changes_are_named() -> None:
    copies, slot = Copies(sent=Other(a=1, b=2, c=3)), Copy(Other(a=1, b=2, c=3))
    slot.value.a = 5
    del slot.value.b
    copies.note(slot.note_tile())
    assert copies.list_changed() == ["a", "b"]


def test_tiles_that_count_twice_are_found() -> None:
    copies, first, second = Copies(sent=Other()), Copy(Other()), Copy(Other())
    for slot, tile in ((first, 1), (second, 2), (first, 3), (second, 1), (second, 4), (second, 4)):
        copies.note(slot.note_tile(tile))
    assert copies.list_repeated() == [1, 4]

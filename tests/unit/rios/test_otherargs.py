import threading
from typing import Any

import numpy as np


class Other:
    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


def made(sent: Other) -> tuple[Any, Any]:
    from asyncbatch.rios.otherargs import Copies, Copy

    return Copies(sent=sent), Copy


def told(others: list[Any]) -> list[dict[str, Any]]:
    return [vars(other) for other in others]


def test_each_copy_comes_back_as_it_was_after_its_last_tile() -> None:
    copies, copy = made(Other(total=0, weights=[1, 2]))
    first, second = copy(Other(total=0, weights=[1, 2])), copy(Other(total=0, weights=[1, 2]))
    states = []
    for slot, amount in ((first, 5), (second, 7), (first, 10)):
        slot.value.total += amount
        states.append(slot.state())
    assert states[0].changed == {"total": 5}, "what is as main sent it does not travel"
    for state in reversed(states):  # results come in any order
        copies.note(state)
    assert sorted(told(copies.all(0)), key=lambda other: other["total"]) == [
        {"total": 7, "weights": [1, 2]},
        {"total": 15, "weights": [1, 2]},
    ]


def test_there_are_as_many_as_workers() -> None:
    copies, _ = made(Other(total=0))
    assert told(copies.all(3)) == [{"total": 0}] * 3


def test_arrays_changed_in_place_new_names_and_removed_ones_come_back() -> None:
    sent = Other(histogram=np.zeros(3), scratch=1)
    copies, copy = made(sent)
    slot = copy(Other(histogram=np.zeros(3), scratch=1))
    slot.value.histogram[1] += 4
    slot.value.seen = "yes"
    del slot.value.scratch
    copies.note(slot.state())
    [back] = copies.all(1)
    assert back.histogram.tolist() == [0, 4, 0]
    assert (back.seen, hasattr(back, "scratch")) == ("yes", False)
    assert sent.histogram.tolist() == [0, 0, 0]


def test_what_does_not_pickle_stays_where_it_is() -> None:
    copies, copy = made(Other(total=0))
    slot = copy(Other(total=0))
    slot.value.total, slot.value.cache = 3, threading.Lock()
    copies.note(slot.state())
    assert told(copies.all(1)) == [{"total": 3}]

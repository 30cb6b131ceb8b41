import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest


class Other:
    tiles = 0
    rows: list[int] = []  # noqa: RUF012 - a user's slip, and a usual one

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


def computed(function: Callable[[int, Any], Any], sent: Any, blocks: range = range(3)) -> tuple[list[Any], Any]:
    """Return the outputs of each block, and main's object afterwards."""
    from asyncbatch.rios.sums import Sent, add_all

    slot, found = Sent(value=copy.deepcopy(sent)), []
    for block in blocks:
        _, did = slot.compute(function, block)
        found.append(did)
    add_all(sent, [did.added for did in found])
    return found, sent


def serial(function: Callable[[int, Any], Any], sent: Any, blocks: range = range(3)) -> Any:
    for block in blocks:
        function(block, sent)
    return sent


def count(_block: int, other: Any) -> None:
    other.count += 1


def total(block: int, other: Any) -> None:
    other.count += np.float32(block) / 3


def histogram(block: int, other: Any) -> None:
    other.counts[block] += block


def lists(block: int, other: Any) -> None:
    other.blocks.append(np.full(2, block))


def seldom(block: int, other: Any) -> None:
    if block == 2:
        other.count -= 7


def of_class(block: int, other: Any) -> None:
    other.tiles += block


def unchanged(_block: int, other: Any) -> None:
    other.count += 0


@pytest.mark.parametrize("function", [count, total, histogram, lists, seldom, of_class, unchanged])
def test_sums_equal_those_of_a_serial_run(function: Callable[[int, Any], None]) -> None:
    def made() -> Other:
        return Other(count=0, counts=np.zeros(3, dtype=np.int16), blocks=["start"])

    found, main = computed(function, made())
    wanted = serial(function, made())
    assert all(not did.dependent for did in found)
    assert (main.count, main.tiles, main.counts.tolist()) == (wanted.count, wanted.tiles, wanted.counts.tolist())
    assert list(map(str, main.blocks)) == list(map(str, wanted.blocks))


def most(block: int, other: Any) -> None:
    other.count = max(other.count, block + 1)


def mean(block: int, other: Any) -> None:
    other.count = (other.count + block + 1) / 2


def first_seen(block: int, other: Any) -> None:
    if other.name is None:
        other.name = block


def new_name(block: int, other: Any) -> None:
    other.new = block


def removed(_block: int, other: Any) -> None:
    vars(other).pop("name", None)


def replaced_list(block: int, other: Any) -> None:
    other.blocks = [block]


def flag(_block: int, other: Any) -> None:
    other.flag = True


def infinite(block: int, other: Any) -> None:
    other.low = min(other.low, block)


def list_of_class(block: int, other: Any) -> None:
    other.rows.append(block)


def list_of_class_in_place(block: int, other: Any) -> None:
    other.rows += [block]


def reshaped(block: int, other: Any) -> None:
    other.counts = np.append(other.counts, block)


def unpicklable(block: int, other: Any) -> None:
    other.name = lambda: (yield)
    other.name = (one for one in [block])


def outputs_that_look(_block: int, other: Any) -> int:
    other.count += 1
    return int(other.count)


def second_time_fails(_block: int, other: Any) -> None:
    assert other.count == 0
    other.count += 1


@pytest.mark.parametrize(
    "function",
    [
        most,
        mean,
        first_seen,
        new_name,
        removed,
        replaced_list,
        flag,
        infinite,
        list_of_class,
        list_of_class_in_place,
        reshaped,
        unpicklable,
        outputs_that_look,
        second_time_fails,
    ],
)
def test_changes_that_are_not_sums_are_noticed_at_the_first_block(function: Callable[[int, Any], Any]) -> None:
    def outputs(block: int, other: Any) -> list[Any]:
        return [function(block, other)]

    sent = Other(count=0, counts=np.zeros(3), blocks=["start"], name=None, flag=False, low=float("inf"))
    found, main = computed(outputs, sent)
    assert found[0].dependent
    assert found[0].dependent == found[0].changed
    assert main.count == 0, "main's object is unchanged"


def test_object_without_attributes_is_noticed() -> None:
    def counted(_block: int, other: dict[str, int]) -> None:
        other["count"] = other.get("count", 0) + 1

    found, main = computed(counted, {})
    assert all(did.dependent for did in found)
    assert main == {}


def test_each_block_starts_with_the_object_of_main_even_after_an_error() -> None:
    from asyncbatch.rios.sums import Sent

    seen = []

    def failing(block: int, other: Any) -> None:
        seen.append(other.count)
        other.count += 1
        if block == 1:
            raise ValueError(block)

    slot = Sent(value=Other(count=0))
    slot.run(failing, 0)
    with pytest.raises(ValueError, match="1"):
        slot.run(failing, 1)
    slot.run(failing, 2)
    assert seen == [0, 0, 0]


def test_inputs_changed_by_a_function_are_restored_for_a_retry() -> None:
    def cleared(inputs: Any, other: Any) -> None:
        other.count += inputs[0]
        inputs[0] = 0

    from asyncbatch.rios.sums import Sent

    _, found = Sent(value=Other(count=0)).compute(cleared, [5])
    assert found.added == {"count": 5}

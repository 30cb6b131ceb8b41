"""Collects what blocks add to RIOS's `otherArgs`; main sums it up if the function only adds to it.

In a serial run all blocks share one `otherArgs`; workers have copies. Workers can still compute a function that only
adds to it (counts, totals, histograms, growing lists), since each block adds the same to any earlier value. To
find out whether a function does so, a slot computes the first block that changes an attribute twice, the second time
starting from the result of the first, and compares both changes.
"""

import copy
import numbers
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, cast

import numpy as np

from asyncbatch.main.copies import list_attributes, make_digest

Added = dict[str, Any]
"""What a block has added, by attribute name."""

_CLOSE: Final = 1e-9
"""Maximum relative difference of two sums that are considered equal, since rounding depends on earlier values."""


class _NotSums(Exception):
    """An attribute was changed in another way than adding to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A block's changes to its copy of `otherArgs`."""

    added: Added = field(default_factory=dict)
    dependent: frozenset[str] = frozenset()
    """Attributes that it changed in another way than adding to them."""
    changed: frozenset[str] = frozenset()
    """All attributes that it changed."""


@dataclass(slots=True, kw_only=True)
class Sent:
    """`otherArgs` as main sent it, with a slot's copy. Each block starts with what main sent."""

    value: Any
    _copy: Any = field(default=None, repr=False)
    _digests: dict[str, bytes | None] = field(default_factory=dict, repr=False)
    _tried: set[str] = field(default_factory=set, repr=False)

    def compute(self, compute: Callable[[Any, Any], Any], inputs: Any) -> tuple[Any, Found]:
        """Compute a block, and determine what it adds to `otherArgs`.

        Parameters
        ----------
        compute : callable
            Called with the inputs and `otherArgs`; returns the outputs.
        inputs : object
            The inputs, which are copied first.

        Returns
        -------
        object, Found
            The outputs, and the changes to `otherArgs`.
        """
        spare = copy.deepcopy(inputs)
        outputs, other, changed = self.run(compute, inputs)
        if not changed:
            return outputs, Found()
        try:
            added = _subtract(self.value, other, changed)
            if not changed <= self._tried:
                self._try(compute, spare, other, outputs, added)
        except _NotSums:
            return outputs, Found(dependent=changed, changed=changed)
        return outputs, Found(added=added, changed=changed)

    def run(self, compute: Callable[[Any, Any], Any], inputs: Any) -> tuple[Any, Any, frozenset[str]]:
        """Compute a block; return its outputs, its copy of `otherArgs`, and the names of changed attributes."""
        if self._copy is None:
            self._copy = copy.deepcopy(self.value)
            self._digests = _digest_all(self._copy)
        other, self._copy = self._copy, None  # not restored after an error
        outputs = compute(inputs, other)
        now = _digest_all(other)
        changed = {name for name in now.keys() | self._digests.keys() if now.get(name) != self._digests.get(name)}
        changed |= {name for name, digest in now.items() if digest is None}
        if not changed:
            self._copy = other
        return outputs, other, frozenset(changed)

    def _try(self, compute: Callable[[Any, Any], Any], inputs: Any, other: Any, outputs: Any, added: Added) -> None:
        """Compute a block again, starting from its result, and compare the changes."""
        try:
            again = copy.deepcopy(other)
            repeated = compute(inputs, again)
        except Exception as error:
            raise _NotSums from error
        names = frozenset(added)
        if _digest_all(repeated) != _digest_all(outputs):
            raise _NotSums
        twice = _subtract(other, again, names)
        before = list_attributes(other)
        if not all(_is_same(added[name], twice[name], before[name]) for name in names):
            raise _NotSums
        self._tried |= names


def add_all(other: object, blocks: Iterable[Added]) -> None:
    """Add the changes of blocks in order; arrays and lists are changed in place."""
    for added in blocks:
        for name, amount in added.items():
            value = getattr(other, name)
            if isinstance(value, list):
                value.extend(amount)
            elif isinstance(value, np.ndarray):
                value += amount
            else:
                setattr(other, name, value + amount)


def _digest_all(other: object) -> dict[str, bytes | None]:
    return {name: make_digest(name, value) for name, value in list_attributes(other).items()}


def _subtract(before: object, after: object, names: frozenset[str]) -> Added:
    first, second = list_attributes(before), list_attributes(after)
    if not all(name and name in first and name in vars(after) for name in names):
        raise _NotSums
    if not all(name in vars(before) or _is_number(first[name]) for name in names):
        raise _NotSums  # an attribute of the class, which both share
    return {name: _subtract_one(first[name], second[name]) for name in sorted(names)}


def _subtract_one(before: Any, after: Any) -> Any:
    if isinstance(before, list) and isinstance(after, list):
        kept = after[: len(before)]
        if make_digest("", kept) != make_digest("", before):
            raise _NotSums
        return after[len(before) :]
    if not (_is_number(before) and _is_number(after)) and not _are_alike(before, after):
        raise _NotSums
    with np.errstate(all="ignore"):
        difference = after - before
    if not np.all(np.isfinite(difference)):
        raise _NotSums
    return difference


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Number | np.number) and not isinstance(value, bool)


def _are_alike(before: object, after: object) -> bool:
    arrays = isinstance(before, np.ndarray) and isinstance(after, np.ndarray)
    if not arrays:
        return False
    first, second = cast("np.ndarray", before), cast("np.ndarray", after)
    return first.shape == second.shape and first.dtype == second.dtype and first.dtype.kind in "iufc"


def _is_same(first: Any, second: Any, reached: Any) -> bool:
    if isinstance(first, list):
        return make_digest("", first) == make_digest("", second)
    margin = _CLOSE * float(np.max(np.abs(reached), initial=0.0))
    return bool(np.allclose(first, second, rtol=_CLOSE, atol=margin))

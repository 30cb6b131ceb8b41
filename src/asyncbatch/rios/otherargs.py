"""What user functions leave on RIOS's `otherArgs`: each slot has a copy of its own, and main gets all of them.

A result carries the state of its slot's copy, as far as it differs from what main sent. So a worker that dies takes
nothing along: what it last said covers just the tiles that it delivered.
"""

import copy
import hashlib
import logging
import uuid
from dataclasses import dataclass, field
from typing import Any, Final

from asyncbatch import codec

log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """How a copy stands after a tile."""

    copy: str
    """Which copy."""
    tiles: int
    """Tiles that it has seen: of two states of a copy, the one with more is the newer."""
    changed: dict[str, Any]
    """Attributes that are new or not as main sent them."""
    removed: frozenset[str]


class Copy:
    """A slot's copy.

    Parameters
    ----------
    value : object
        As main sent it; user functions may change it from now on.
    """

    def __init__(self, value: object) -> None:
        self.value = value
        self._name = uuid.uuid4().hex
        self._tiles = 0
        self._sent = {name: _digest(name, value) for name, value in _attributes(value).items()}

    def state(self) -> State:
        """Return how the copy stands after one more tile."""
        self._tiles += 1
        now = _attributes(self.value)
        changed = {
            name: value
            for name, value in now.items()
            if (digest := _digest(name, value)) is not None and digest != self._sent.get(name)
        }
        return State(copy=self._name, tiles=self._tiles, changed=changed, removed=frozenset(self._sent.keys() - now))


@dataclass(slots=True, kw_only=True)
class Copies:
    """Main's knowledge of all copies."""

    sent: object
    _states: dict[str, State] = field(default_factory=dict)

    def note(self, state: State) -> None:
        """Take in what a result tells; results may come in any order."""
        known = self._states.get(state.copy)
        if known is None or known.tiles < state.tiles:
            self._states[state.copy] = state

    def all(self, least: int) -> list[object]:
        """Return all copies as they stand; at least so many, since RIOS returns one for each worker."""
        found = [self._made(state) for state in self._states.values()]
        return found + [copy.copy(self.sent) for _ in range(least - len(found))]

    def _made(self, state: State) -> object:
        made = copy.copy(self.sent)
        for name in state.removed:
            delattr(made, name)
        for name, value in state.changed.items():
            setattr(made, name, value)
        return made


def _attributes(other: object) -> dict[str, Any]:
    return dict(getattr(other, "__dict__", {}))


def _digest(name: str, value: object) -> bytes | None:
    """Return what tells a value from another; None if it does not pickle and so can't be sent back."""
    digest = hashlib.sha256()
    try:
        for part in codec.encode(value):
            digest.update(part)
    except Exception as error:  # noqa: BLE001 - pickling raises anything
        log.debug("not returned", extra={"action": "otherargs_not_returned", "attribute": name, "why": error})
        return None
    return digest.digest()

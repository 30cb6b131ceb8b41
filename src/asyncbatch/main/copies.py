"""Returns the changes that user functions make to an object shared by tiles: each slot has a copy, and main gets all.

A result carries the state of its slot's copy, as far as it differs from what main sent. If a worker dies, its last
result therefore covers exactly the tiles that it delivered.
"""

import copy
import hashlib
import logging
import uuid
from collections import Counter
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import cloudpickle

if TYPE_CHECKING:
    from pickle import PickleBuffer

log: Final = logging.getLogger(__name__)

WHOLE: Final = ""
"""Used instead of an attribute's name for the whole object, if it has more than attributes (a dict, an array)."""

_HEAP_TYPE: Final = 1 << 9
"""CPython's flag for classes created by a ``class`` statement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The state of a copy after a tile."""

    copy: str
    """Id of the copy."""
    tiles: int
    """Number of tiles that it has seen: of two states of a copy, the one with more tiles is newer."""
    changed: dict[str, Any]
    """Attributes that are new, or differ from what main sent."""
    removed: frozenset[str]
    unsent: frozenset[str] = frozenset()
    """Attributes whose values can't be pickled, and so are not returned."""
    seen: tuple[int, ...] = ()
    """Indices of the tiles it has seen, as far as they were passed to `Copy.note_tile`."""


class Copy:
    """A slot's copy.

    Parameters
    ----------
    value : object
        The object as main sent it; user functions may change it from now on.
    """

    def __init__(self, value: object) -> None:
        self.value: Any = value
        self._name = uuid.uuid4().hex
        self._tiles = 0
        self._seen: list[int] = []
        self._sent = {name: make_digest(name, value) for name, value in _attributes(value).items()}

    def note_tile(self, tile: int | None = None) -> State:
        """Count one more tile and return the copy's state; the tile's index lets main detect tiles that count twice."""
        self._tiles += 1
        if tile is not None:
            self._seen.append(tile)
        now = _attributes(self.value)
        digests = {name: make_digest(name, value) for name, value in now.items()}
        return State(
            copy=self._name,
            tiles=self._tiles,
            changed={
                name: now[name]
                for name, digest in digests.items()
                if digest is not None and digest != self._sent.get(name)
            },
            removed=frozenset(self._sent.keys() - now),
            unsent=frozenset(name for name, digest in digests.items() if digest is None),
            seen=tuple(self._seen),
        )


@dataclass(slots=True, kw_only=True)
class Copies:
    """The states of all copies, in main."""

    sent: object
    _states: dict[str, State] = field(default_factory=dict)

    def note(self, state: State) -> None:
        """Note the state in a result; results may arrive in any order."""
        known = self._states.get(state.copy)
        if known is None or known.tiles < state.tiles:
            self._states[state.copy] = state

    def list_copies(self, least: int) -> list[object]:
        """Return all copies; at least `least`, since RIOS returns one for each worker."""
        found = [self._make(state) for state in self._states.values()]
        return found + [copy.copy(self.sent) for _ in range(least - len(found))]

    def list_changed(self) -> list[str]:
        """Return the names of the attributes that any copy has set or removed, sorted."""
        return sorted({name for state in self._states.values() for name in (*state.changed, *state.removed)})

    def list_unsent(self) -> list[str]:
        """Return the names of the attributes that any copy could not return, sorted."""
        return sorted({name for state in self._states.values() for name in state.unsent})

    def list_repeated(self) -> list[int]:
        """Return the tiles that the copies have seen more than once, because they were computed again after a fault."""
        counts = Counter(tile for state in self._states.values() for tile in state.seen)
        return sorted(tile for tile, count in counts.items() if count > 1)

    def _make(self, state: State) -> object:
        if WHOLE in state.changed:
            return state.changed[WHOLE]
        made = copy.copy(self.sent)
        for name in state.removed:
            delattr(made, name)
        for name, value in state.changed.items():
            setattr(made, name, value)
        return made


def _attributes(other: object) -> dict[str, Any]:
    """Return the attributes of an object, or the whole object if it has more than attributes."""
    return dict(vars(other)) if _has_attributes_only(other) else {WHOLE: other}


def _has_attributes_only(other: object) -> bool:
    """Return whether an object's whole state is in its ``__dict__``, unlike that of lists and arrays."""
    return hasattr(other, "__dict__") and all(
        kind in {object, SimpleNamespace} or (kind.__flags__ & _HEAP_TYPE and not vars(kind).get("__slots__"))
        for kind in type(other).__mro__
    )


def list_attributes(other: object) -> dict[str, Any]:
    """Return the attributes of an object, including those of its class, or the whole object as in `WHOLE`."""
    if not _has_attributes_only(other):
        return {WHOLE: other}
    of_class = {
        name: value
        for kind in reversed(type(other).__mro__)
        for name, value in vars(kind).items()
        if not name.startswith("__") and not hasattr(value, "__get__")
    }
    return of_class | vars(other)


def make_digest(name: str, value: object) -> bytes | None:
    """Return a digest that identifies a value; None if it can't be pickled, and so can't be returned."""
    buffers: list[PickleBuffer] = []
    try:
        digest = hashlib.sha256(cloudpickle.dumps(value, protocol=5, buffer_callback=buffers.append))
        for buffer in buffers:
            digest.update(buffer.raw())
    except Exception as error:  # noqa: BLE001 - pickling may raise anything
        log.debug(
            "attribute not returned, since it can't be pickled",
            extra={"action": "otherargs_not_returned", "attribute": name, "why": error},
        )
        return None
    return digest.digest()

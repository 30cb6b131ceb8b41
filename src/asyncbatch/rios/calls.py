"""A call of RIOS's `apply` under ``asyncbatch run``: who computes its blocks, and what they leave on `otherArgs`."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from asyncbatch.rios.sums import Added, Found, add_all


@dataclass(slots=True, kw_only=True)
class Tally:
    """How many blocks workers and main have computed so far."""

    workers: int = 0
    main: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def count(self, *, workers: int = 0, main: int = 0) -> None:
        """Add blocks."""
        with self._lock:
            self.workers += workers
            self.main += main


class DependentBlocks(Exception):
    """A block needs what the blocks before it left on `otherArgs`, and workers do not see that.

    Parameters
    ----------
    names : collection of str
        The attributes.
    """

    def __init__(self, names: frozenset[str]) -> None:
        super().__init__(", ".join(sorted(name or "otherArgs itself" for name in names)))
        self.names = names


class Call:
    """A user's function in one call of `apply`: RIOS calls it, or hands it to a manager of ours.

    It pickles as the function alone.

    Parameters
    ----------
    function : callable
        The user's.
    tally : Tally
        Counts its blocks.
    workers : int, optional
        How many workers to ask for; None where the script says so itself.
    exact : bool
        Whether the script expects `otherArgs` as a serial run leaves it.
    """

    def __init__(
        self, function: Callable[..., object], *, tally: Tally, workers: int | None = None, exact: bool = False
    ) -> None:
        self.function = function
        self.workers = workers
        self.exact = exact
        self.delivered = 0
        """Blocks that workers have computed."""
        self._tally = tally
        self._added: dict[int, Added] = {}
        self._dependent: frozenset[str] = frozenset()

    def __call__(self, *parameters: object) -> object:
        """Compute a block here, in main."""
        self._tally.count(main=1)
        return self.function(*parameters)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[Callable[..., object]]]:
        """Let RIOS's own managers send the function as the user wrote it."""
        return _itself, (self.function,)

    @property
    def is_dependent(self) -> bool:
        """Whether a block has turned out to depend on the ones before it."""
        return bool(self._dependent)

    def note(self, block: int, found: Found | None = None) -> None:
        """Take note of a block that a worker has computed, by its index, and of what it left on `otherArgs`."""
        self.delivered += 1
        self._tally.count(workers=1)
        if found is not None and self.exact:
            self._dependent |= found.dependent
            if found.added:
                self._added[block] = found.added

    def check(self) -> None:
        """Raise if the blocks can't be computed apart from each other.

        Raises
        ------
        DependentBlocks
            If so.
        """
        if self._dependent:
            raise DependentBlocks(self._dependent)

    def settle(self, other: object) -> None:
        """Add to the script's `otherArgs` what the blocks have added to their copies, in the order of the blocks."""
        add_all(other, [self._added[block] for block in sorted(self._added)])


def unwrap(function: Callable[..., object]) -> tuple[Callable[..., object], Call | None]:
    """Return the user's own function, and its call if ``asyncbatch run`` has made one."""
    if isinstance(function, Call):
        return function.function, function
    return function, None


def _itself(function: Callable[..., object]) -> Callable[..., Any]:
    return cast("Callable[..., Any]", function)

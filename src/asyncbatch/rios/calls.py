"""A call of RIOS's `apply` under ``asyncbatch run``: counts its blocks, and collects their changes to `otherArgs`."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from asyncbatch.rios.sums import Added, Found, add_all


@dataclass(slots=True, kw_only=True)
class Tally:
    """The numbers of blocks that workers and main have computed so far."""

    workers: int = 0
    main: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def count(self, *, workers: int = 0, main: int = 0) -> None:
        """Add blocks."""
        with self._lock:
            self.workers += workers
            self.main += main


class DependentBlocks(Exception):
    """A block needs changes that earlier blocks made to `otherArgs`, which workers do not see.

    Parameters
    ----------
    names : collection of str
        The attributes.
    """

    def __init__(self, names: frozenset[str]) -> None:
        super().__init__(", ".join(sorted(name or "otherArgs itself" for name in names)))
        self.names = names


class Call:
    """A user's function in one call of `apply`: RIOS calls it, or passes it to one of asyncbatch's managers.

    It is pickled as the function itself.

    Parameters
    ----------
    function : callable
        The user's function.
    tally : Tally
        Counts its blocks.
    workers : int, optional
        Number of workers to request; None if the script sets it.
    exact : bool
        Whether the script expects the same `otherArgs` as after a serial run.
    """

    def __init__(
        self, function: Callable[..., object], *, tally: Tally, workers: int | None = None, exact: bool = False
    ) -> None:
        self.function = function
        self.workers = workers
        self.exact = exact
        self.delivered = 0
        """Number of blocks that workers have computed."""
        self._tally = tally
        self._added: dict[int, Added] = {}
        self._dependent: frozenset[str] = frozenset()

    def __call__(self, *parameters: object) -> object:
        """Compute a block in main."""
        self._tally.count(main=1)
        return self.function(*parameters)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[Callable[..., object]]]:
        """Let RIOS's own managers pickle the user's function."""
        return _get_function, (self.function,)

    @property
    def is_dependent(self) -> bool:
        """Whether a block depends on earlier blocks."""
        return bool(self._dependent)

    def note(self, block: int, found: Found | None = None) -> None:
        """Note a block that a worker has computed, and its changes to `otherArgs`."""
        self.delivered += 1
        self._tally.count(workers=1)
        if found is not None and self.exact:
            self._dependent |= found.dependent
            if found.added:
                self._added[block] = found.added

    def check(self) -> None:
        """Raise an error if the blocks can't be computed independently.

        Raises
        ------
        DependentBlocks
            If blocks depend on each other.
        """
        if self._dependent:
            raise DependentBlocks(self._dependent)

    def settle(self, other: object) -> None:
        """Add the changes of all blocks to the script's `otherArgs`, in the order of the blocks."""
        add_all(other, [self._added[block] for block in sorted(self._added)])


def unwrap(function: Callable[..., object]) -> tuple[Callable[..., object], Call | None]:
    """Return the user's function, and its call if ``asyncbatch run`` has wrapped it."""
    if isinstance(function, Call):
        return function.function, function
    return function, None


def _get_function(function: Callable[..., object]) -> Callable[..., Any]:
    return cast("Callable[..., Any]", function)

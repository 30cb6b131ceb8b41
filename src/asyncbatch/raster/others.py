"""What comes back of a computation's fourth argument, `other`."""

import logging
from collections.abc import Sequence
from typing import Any, Final

from asyncbatch.copies import WHOLE, Copies
from asyncbatch.errors import OutputError, TileError, TileLost

log: Final = logging.getLogger(__name__)


class Applied:
    """What `apply` returns.

    Parameters
    ----------
    others : sequence
        What `others` is to be.
    changed : sequence of str
        Attributes in which they are not as the caller's own object is.
    failures : sequence
        The error of each tile that failed and holds nodata.
    resumed : int
        Tiles whose results were stored by a computation before.
    """

    def __init__(
        self,
        others: Sequence[Any],
        changed: Sequence[str] = (),
        *,
        failures: Sequence[TileError | TileLost | OutputError] = (),
        resumed: int = 0,
    ) -> None:
        self.failures = list(failures)
        """The errors of the tiles that hold nodata in the outputs, in order: with ``on_error="nodata"``."""
        self.resumed = resumed
        """Tiles whose results a computation before had stored: with ``resume=True``."""
        self._others = list(others)
        self._unread = list(changed)

    @property
    def others(self) -> list[Any]:
        """The function's fourth argument, as the tiles have left it.

        One object for each copy that has computed tiles: each slot of each worker has its own. Merge what they hold,
        for instance ``sum(each.total for each in result.others)``. Where tiles are computed in this process, the list
        holds just the object that was passed. It is empty where none was.
        """
        self._unread = []
        return self._others

    def __del__(self) -> None:
        """Warn of changes that are lost: whoever looks at their own object finds it as it was, and a script goes on."""
        if self._unread:
            log.warning(
                "workers changed their copies of `other` (%s); your own object is unchanged, "
                "and nobody has read the copies: they are in `others` of what `apply` returns",
                _join(self._unread),
                extra={"action": "other_not_read", "attributes": self._unread},
            )


def gather(
    copies: Copies, other: object, *, failures: Sequence[TileError | TileLost | OutputError] = (), resumed: int = 0
) -> Applied:
    """Return what has come back, and warn of what could not.

    Parameters
    ----------
    copies : Copies
        As the results have it.
    other : object
        The caller's own.
    failures : sequence
        The error of each tile that failed and holds nodata.
    resumed : int
        Tiles whose results were stored.
    """
    others = copies.list_copies(0)
    if not others:
        return Applied([] if other is None else [other], failures=failures, resumed=resumed)
    unsent, repeated = copies.list_unsent(), copies.list_repeated()
    if unsent:
        log.warning(
            "workers have set what can't be pickled on their copies of `other` (%s); it does not come back",
            _join(unsent),
            extra={"action": "other_not_sent", "attributes": unsent},
        )
    if repeated:
        log.warning(
            "tiles %s were computed more than once, since their first results were lost; "
            "what the function added to `other` for them counts as often in `others`",
            ", ".join(map(str, repeated)),
            extra={"action": "other_counts_twice", "tiles": repeated},
        )
    return Applied(others, copies.list_changed(), failures=failures, resumed=resumed)


def _join(names: Sequence[str]) -> str:
    return ", ".join("the object itself" if name == WHOLE else name for name in names)

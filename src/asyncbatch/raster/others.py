"""The result of `apply`, with the copies of the function's fourth argument, `other`."""

import logging
from collections.abc import Sequence
from typing import Any, Final

from asyncbatch.errors import OutputError, TileError, TileLost
from asyncbatch.main.copies import WHOLE, Copies

log: Final = logging.getLogger(__name__)


class Applied:
    """The result of `apply`.

    Parameters
    ----------
    others : sequence
        The value of `others`.
    changed : sequence of str
        Attributes in which they differ from the caller's object.
    failures : sequence
        The errors of tiles that were filled with nodata.
    resumed : int
        Number of tiles whose results an earlier computation had stored.
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
        """The errors of tiles that were filled with nodata (``on_error="nodata"``), in order."""
        self.resumed = resumed
        """Number of tiles whose results an earlier computation had stored (``resume=True``)."""
        self._others = list(others)
        self._unread = list(changed)

    @property
    def others(self) -> list[Any]:
        """The copies of the function's fourth argument, with the changes of the tiles.

        One object for each copy that has computed tiles: each slot of each worker has its own copy. Merge them, for
        example by ``sum(each.total for each in result.others)``. If tiles are computed in this process, the list
        contains only the object that was passed. It is empty if none was passed.
        """
        self._unread = []
        return self._others

    def __del__(self) -> None:
        """Warn if changes would be lost, since the caller's own object has not changed."""
        if self._unread:
            log.warning(
                "workers changed their copies of `other` (%s), but your own object is unchanged. "
                "Read the copies from `others` of the object that `apply` returns",
                _join(self._unread),
                extra={"action": "other_not_read", "attributes": self._unread},
            )


def gather(
    copies: Copies, other: object, *, failures: Sequence[TileError | TileLost | OutputError] = (), resumed: int = 0
) -> Applied:
    """Return the result of `apply`, and warn about changes that are lost or count twice.

    Parameters
    ----------
    copies : Copies
        The copies according to the results.
    other : object
        The caller's object.
    failures : sequence
        The errors of tiles that were filled with nodata.
    resumed : int
        Number of tiles whose results were stored.
    """
    others = copies.list_copies(0)
    if not others:
        return Applied([] if other is None else [other], failures=failures, resumed=resumed)
    unsent, repeated = copies.list_unsent(), copies.list_repeated()
    if unsent:
        log.warning(
            "attributes of `other` that workers set can't be pickled, so they are not returned: %s",
            _join(unsent),
            extra={"action": "other_not_sent", "attributes": unsent},
        )
    if repeated and copies.list_changed():
        log.warning(
            "tiles %s were computed more than once, since their first results were lost. "
            "Their changes to `other` count more than once in `others`",
            ", ".join(map(str, repeated)),
            extra={"action": "other_counts_twice", "tiles": repeated},
        )
    return Applied(others, copies.list_changed(), failures=failures, resumed=resumed)


def _join(names: Sequence[str]) -> str:
    return ", ".join("the object itself" if name == WHOLE else name for name in names)

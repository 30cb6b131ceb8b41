"""Decides which attempts at a tile count. Does no I/O.

A worker that dies loses all tiles that it holds, but tiles that only waited must not lose an attempt. SQS counts
deliveries, not attempts, so its count is only a hint: a tile that is delivered again is a *suspect*. Before an attempt
at a suspect, the worker writes a count to the bucket. The first delivery of a tile needs no request: its attempt counts
as begun, unless a worker that had to exit has written that the attempt was withdrawn.
"""

from dataclasses import dataclass
from typing import Final

MAX_RETURNS: Final = 100
"""Number of deliveries of a tile without a counted attempt (reclaims, and workers that died while they held it) after
which it is lost. A tile that a worker can finish in time has far fewer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What to do with a delivered tile."""

    number: int
    """Number of the attempt, from 1; or the number of earlier attempts if no attempt is left."""
    lost: bool = False
    """Whether no attempt is left."""
    count: int | None = None
    """Count to write before the attempt; None for nothing."""
    alone: bool = False
    """Whether the tile computes alone on the worker until its result is announced, so that it affects no other tile."""
    last: bool = False
    """Whether this is the last attempt."""
    before: int | None = None
    """Count to write if this attempt is withdrawn: the number of attempts before it; None for nothing."""


def needs_count(*, deliveries: int, max_attempts: int, copy: bool = False) -> bool:
    """Return whether to read the count of attempts from the bucket."""
    return deliveries > 1 or max_attempts == 1 or copy


def judge(
    *, counted: int | None, deliveries: int, max_attempts: int, readable: bool = True, copy: bool = False
) -> Verdict:
    """Return what to do with a tile.

    Parameters
    ----------
    counted : int or None
        Number of attempts according to the bucket; None if it has no count.
    deliveries : int
        Number of deliveries of the tile, including this one.
    max_attempts : int
        Maximum number of attempts at a tile.
    readable : bool
        Whether the bucket can be read; if not, deliveries count.
    copy : bool
        Whether this is the copy of a slow tile, at which an attempt has already started.
    """
    if not needs_count(deliveries=deliveries, max_attempts=max_attempts, copy=copy):
        return Verdict(number=1, before=0)
    if not readable:
        done = deliveries - 1 + copy
    elif counted is not None:
        done = counted
    else:  # only the first delivery begins without a count
        done = 1 if copy or (deliveries > 1 and max_attempts > 1) else 0
    if done >= max_attempts or deliveries - 1 - done > MAX_RETURNS:
        return Verdict(number=done, lost=True)
    last = done + 1 >= max_attempts
    return Verdict(
        number=done + 1,
        count=done + 1 if readable else None,
        # With one attempt per tile, no tile is computed again.
        alone=max_attempts > 1 and (not readable or bool(counted) or last),
        last=last,
        before=done if readable else None,
    )

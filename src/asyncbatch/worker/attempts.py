"""Which attempts at a tile are charged to it. Pure.

A worker that dies takes down all the tiles that it holds, and must not charge those that only waited. SQS counts
deliveries, not attempts, so that count is but a hint: a tile that is delivered again is a *suspect*. Before an attempt
at a suspect begins, the worker counts it in the bucket. A tile's first delivery costs no request: it is taken to have
begun, unless a worker that had to leave has written that it took the attempt back.
"""

from dataclasses import dataclass
from typing import Final

MAX_RETURNS: Final = 100
"""Deliveries of a tile that may end with no attempt charged, before it is given up: reclaims, and workers that died
while they held it. Far more than a tile meets that any worker has time for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What to do with a tile that was delivered."""

    number: int
    """Of the attempt that begins, from 1; or of those that were begun, where none may."""
    lost: bool = False
    """Whether no attempt is left."""
    count: int | None = None
    """What to write before the attempt begins; None: nothing."""
    alone: bool = False
    """Whether nothing else computes on the worker until its result is on its way: no tile pays for another."""
    last: bool = False
    """Whether no attempt is left after this one."""
    before: int | None = None
    """What to write if this attempt is taken back: the attempts before it. None: nothing."""


def needs_count(*, deliveries: int, max_attempts: int, copy: bool = False) -> bool:
    """Return whether to ask the bucket how often a tile has begun."""
    return deliveries > 1 or max_attempts == 1 or copy


def judge(
    *, counted: int | None, deliveries: int, max_attempts: int, readable: bool = True, copy: bool = False
) -> Verdict:
    """Return what to do with a tile.

    Parameters
    ----------
    counted : int or None
        Attempts that the bucket says have begun; None: it says nothing.
    deliveries : int
        How often the tile was delivered, this time included.
    max_attempts : int
        Attempts that a tile has.
    readable : bool
        Whether the bucket can be asked; where it can't, deliveries count.
    copy : bool
        Whether this is the copy of a slow tile, at which an attempt has begun already.
    """
    if not needs_count(deliveries=deliveries, max_attempts=max_attempts, copy=copy):
        return Verdict(number=1, before=0)
    if not readable:
        done = deliveries - 1 + copy
    elif counted is not None:
        done = counted
    else:  # only what is delivered for the first time begins without being counted
        done = 1 if copy or (deliveries > 1 and max_attempts > 1) else 0
    if done >= max_attempts or deliveries - 1 - done > MAX_RETURNS:
        return Verdict(number=done, lost=True)
    last = done + 1 >= max_attempts
    return Verdict(
        number=done + 1,
        count=done + 1 if readable else None,
        # With one attempt a tile nothing is ever computed again, whoever is to blame.
        alone=max_attempts > 1 and (not readable or bool(counted) or last),
        last=last,
        before=done if readable else None,
    )

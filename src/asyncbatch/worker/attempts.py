"""Which attempts at a tile are charged to it. Pure.

A worker that dies takes down all the tiles that it holds, and must not charge those that only waited. SQS counts
deliveries, not attempts, so that count is but a hint: a tile that is delivered again is a *suspect*. Before an attempt
at a suspect begins, the worker counts it in the bucket. A tile's first delivery costs no request: it is taken to have
begun.
"""

from dataclasses import dataclass


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


def needs_count(*, deliveries: int, max_attempts: int) -> bool:
    """Return whether to ask the bucket how often a tile has begun."""
    return deliveries > 1 or max_attempts == 1


def judge(*, begun: int | None, deliveries: int, max_attempts: int) -> Verdict:
    """Return what to do with a tile.

    Parameters
    ----------
    begun : int or None
        Attempts counted in the bucket; None: not known, since the bucket can't be asked, so that deliveries count.
    deliveries : int
        How often the tile was delivered, this time included.
    max_attempts : int
        Attempts that a tile has.
    """
    if not needs_count(deliveries=deliveries, max_attempts=max_attempts):
        return Verdict(number=1)
    first = 0 if max_attempts == 1 else 1  # the first attempt is not counted, unless it is the only one
    done = deliveries - 1 if begun is None else begun + first
    if done >= max_attempts:
        return Verdict(number=done, lost=True)
    last = done + 1 >= max_attempts
    return Verdict(
        number=done + 1,
        count=None if begun is None else begun + 1,
        # With one attempt a tile nothing is ever computed again, whoever is to blame.
        alone=max_attempts > 1 and (begun is None or begun >= 1 or last),
        last=last,
    )

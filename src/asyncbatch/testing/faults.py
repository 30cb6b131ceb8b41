"""Faults to inject, selected by operation and count."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from asyncbatch.emulator.faults import ServiceError

if TYPE_CHECKING:
    from asyncbatch.testing.jobs import MemoryJob


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A fault of some requests. Requests count after botocore's own retries.

    Without `error`, `lost`, `damage` and so on, requests are only delayed.
    """

    operation: str
    """The operation as AWS names it, such as ``sqs:SendMessageBatch``, or a pattern such as ``s3:*``. ``slot:Compute``
    is a worker's attempt at a tile; an error there means that the slot dies."""
    about: str = ""
    """Only requests whose queue, key or prefix contains this text; for ``slot:Compute``, ``tile 3 of PROGRAM``."""
    after: int = 0
    """Number of requests to skip first."""
    times: int | None = 1
    """Number of requests to affect then; None for all."""
    delay: float = 0.0
    """Seconds until the request is handled; ``math.inf`` for never."""
    error: str | Exception | None = None
    """How the request fails: with an AWS error code, or an exception such as ``ConnectionError()``."""
    lost: bool = False
    """Whether the request is performed and only its response is lost: it raises `error`, or `ConnectionError`."""
    entries: Collection[int] | None = None
    """Indices of messages of a batch that are rejected; the others are handled."""
    copies: int = 1
    """Number of times that each sent message is delivered; 0 loses it."""
    hidden: float = 0.0
    """Seconds for which sent messages are hidden."""
    damage: bool = False
    """Whether to flip a bit of the object's content, or damage one of the received messages."""
    truncated: bool = False
    """Whether the response contains only half of the object's content."""
    then: "Callable[[MemoryJob], object] | None" = None
    """Action on the worker whose request was affected, such as `MemoryJob.kill`. For an attempt at a tile, it happens
    during the attempt. It has no effect on main."""

    def refusal(self) -> Exception:
        """Return the error of the request."""
        if isinstance(self.error, str):
            return ServiceError(self.error, "injected by a Fault")
        return self.error or ConnectionError("response lost by a Fault")


class Faults:
    """The remaining faults, with the number of requests that each has seen."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._seen: dict[int, tuple[Fault, int]] = {}
        self.add(*faults)

    def add(self, *faults: Fault) -> None:
        """Add faults; their requests count from now."""
        for fault in faults:
            self._seen[id(fault)] = (fault, 0)

    def remove(self, *faults: Fault) -> None:
        """Remove some faults."""
        for fault in faults:
            self._seen.pop(id(fault), None)

    def clear(self) -> None:
        """Remove all faults."""
        self._seen.clear()

    def hit(self, operation: str, about: str) -> Fault | None:
        """Count a request, and return the first fault that affects it."""
        found = None
        for key, (fault, seen) in list(self._seen.items()):
            if not fnmatchcase(operation, fault.operation) or fault.about not in about:
                continue
            self._seen[key] = (fault, seen + 1)
            if found is None and seen >= fault.after and (fault.times is None or seen < fault.after + fault.times):
                found = fault
        return found

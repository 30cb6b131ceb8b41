"""Faults: what is scripted to go wrong, by operation and count."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from asyncbatch.emulator.faults import ServiceError

if TYPE_CHECKING:
    from asyncbatch.testing.jobs import MemoryJob


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that goes wrong with some requests. Requests count as they leave botocore: after its own retries.

    Without `error`, `lost`, `damage` and so on the requests are only delayed.
    """

    operation: str
    """Which requests: ``service:Operation`` as AWS names it, for instance ``sqs:SendMessageBatch``; ``s3:*`` and the
    like stand for several. ``slot:Compute`` is a worker's attempt at a tile: an error there is the slot's death."""
    about: str = ""
    """Only requests whose queue, key or prefix contains this; of ``slot:Compute``, ``tile 3 of PROGRAM``."""
    after: int = 0
    """Requests that are let through first."""
    times: int | None = 1
    """Requests that are hit then; None: all."""
    delay: float = 0.0
    """Seconds until the request is looked at; ``math.inf``: it is never answered."""
    error: str | Exception | None = None
    """How the request is refused: by a code of AWS's, or by an exception, ``ConnectionError()`` for one."""
    lost: bool = False
    """Whether the request is done, and only its answer is lost: `error` is raised then, or `ConnectionError`."""
    entries: Collection[int] | None = None
    """Of a batch of messages: which of them are refused, by their places, while the others are done."""
    copies: int = 1
    """How often each message that is sent is delivered; 0 loses it."""
    hidden: float = 0.0
    """Seconds for which messages that are sent are hidden."""
    damage: bool = False
    """Whether a bit of the object's content is flipped in the answer, or one of the messages that were received."""
    truncated: bool = False
    """Whether half of the object's content is missing in the answer."""
    then: "Callable[[MemoryJob], object] | None" = None
    """What happens to the worker whose request was hit, when its fate is decided: `MemoryJob.kill` for one. An attempt
    at a tile is hit in the middle. Nothing happens to main."""

    def refusal(self) -> Exception:
        """Return the error that the request fails with."""
        if isinstance(self.error, str):
            return ServiceError(self.error, "scripted by a Fault")
        return self.error or ConnectionError("the answer is lost, scripted by a Fault")


class Faults:
    """The faults that are still to come, with the requests that each has seen."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._seen: dict[int, tuple[Fault, int]] = {}
        self.add(*faults)

    def add(self, *faults: Fault) -> None:
        """Script more faults; their requests count from now."""
        for fault in faults:
            self._seen[id(fault)] = (fault, 0)

    def remove(self, *faults: Fault) -> None:
        """End some faults."""
        for fault in faults:
            self._seen.pop(id(fault), None)

    def clear(self) -> None:
        """Let nothing more go wrong."""
        self._seen.clear()

    def hit(self, operation: str, about: str) -> Fault | None:
        """Count a request, and return the first fault that hits it."""
        found = None
        for key, (fault, seen) in list(self._seen.items()):
            if not fnmatchcase(operation, fault.operation) or fault.about not in about:
                continue
            self._seen[key] = (fault, seen + 1)
            if found is None and seen >= fault.after and (fault.times is None or seen < fault.after + fault.times):
                found = fault
        return found

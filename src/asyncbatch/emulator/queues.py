"""A model of an SQS standard queue. It does no I/O, and the time is passed in."""

import base64
import binascii
import heapq
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from asyncbatch.emulator.faults import ServiceError
from asyncbatch.emulator.limits import SIZE_LIMIT, check_body

IN_FLIGHT_LIMIT: Final = 120_000
"""Maximum number of messages that are received but not deleted."""

VISIBILITY_LIMIT: Final = 12 * 3600
"""Maximum number of seconds that a message is hidden after a receive, including extensions."""

_SPARE: Final = 64
"""Outdated entries that the heap may have before it is rebuilt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueAttributes:
    """The attributes of a queue. Times are in seconds."""

    visibility: int = 30
    retention: int = 4 * 24 * 3600
    delay: int = 0
    wait: int = 0
    size_limit: int = SIZE_LIMIT


@dataclass(slots=True, kw_only=True)
class _Message:
    number: int
    body: str
    md5: str
    sent: float
    hidden_until: float
    """Time when it becomes visible; in the past if it is visible."""
    delayed: bool = False
    """Whether it has not been visible yet."""
    receives: int = 0
    received: float = 0.0
    """Time when it was last received."""
    first_received: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A received message."""

    id: str
    body: str = field(repr=False)
    md5: str
    """Hash of the body, as it was passed to `send`."""
    handle: str
    receives: int
    sent: float
    first_received: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Number of messages of a queue, by state."""

    visible: int
    in_flight: int
    delayed: int


class Queue:
    """A standard queue. Messages are received in the order in which they became visible.

    No operation scans the messages; each takes at most O(log n).

    Parameters
    ----------
    attributes : QueueAttributes
        Attributes of the queue.
    key : int
        A unique number of 128 bits, which is part of ids and receipt handles.
    """

    def __init__(self, attributes: QueueAttributes, *, key: int) -> None:
        self.attributes = attributes
        self._key = key
        self._sent = 0
        self._messages: OrderedDict[int, _Message] = OrderedDict()  # by number, so the oldest is first
        self._visible: OrderedDict[int, _Message] = OrderedDict()
        # When hidden messages become visible. An entry is outdated if its message is gone, visible, or hidden for
        # another time; it is skipped. Entries have no bodies, so the memory of a deleted message is freed immediately.
        self._hidden: list[tuple[float, int]] = []
        self._delayed = 0

    def send(self, now: float, body: str, *, delay: int | None = None, md5: str = "") -> str:
        """Add a message and return its id. Deliveries have its `md5`, which takes long to compute again.

        Raises
        ------
        ServiceError
            If the body is empty, too long, or has characters that XML does not allow.
        """
        check_body(body, limit=self.attributes.size_limit)
        self._advance(now)
        seconds = self.attributes.delay if delay is None else delay
        self._sent += 1
        message = _Message(
            number=self._sent, body=body, md5=md5, sent=now, hidden_until=now + seconds, delayed=seconds > 0
        )
        self._messages[message.number] = message
        if message.delayed:
            self._delayed += 1
            self._hide(message, message.hidden_until)
        else:
            self._visible[message.number] = message
        return self._id(message)

    def receive(self, now: float, most: int, *, visibility: int | None = None) -> list[Delivery]:
        """Return up to `most` visible messages, and hide them for `visibility` seconds.

        Raises
        ------
        ServiceError
            If there are visible messages, but the limit of messages in flight is reached.
        """
        self._advance(now)
        most = min(most, len(self._visible), IN_FLIGHT_LIMIT - self._in_flight)
        if self._visible and most <= 0:
            raise ServiceError("OverLimit", f"{IN_FLIGHT_LIMIT} messages are already in flight", status=403)
        seconds = self.attributes.visibility if visibility is None else visibility
        found = [self._visible.popitem(last=False)[1] for _ in range(most)]
        for message in found:
            message.receives += 1
            message.received = now
            message.first_received = message.first_received or now
            self._hide_for(now, message, seconds)
        return [self._delivery(message) for message in found]

    def change_visibility(self, now: float, handle: str, seconds: int) -> None:
        """Make the message of a receipt handle visible in `seconds`.

        Raises
        ------
        ServiceError
            If the handle is stale: its message is gone, visible, or was received again later.
        """
        self._advance(now)
        message = self._find(handle)
        if message is None or message.number in self._visible:
            reason = "Message does not exist or is not available for visibility timeout change"
            raise ServiceError("InvalidParameterValue", f"{_name_handle(handle)} is invalid. Reason: {reason}.")
        if now + seconds > message.received + VISIBILITY_LIMIT:
            reason = f"Total VisibilityTimeout for the message is beyond the limit [{VISIBILITY_LIMIT} seconds]"
            where = f"Value {seconds} for parameter VisibilityTimeout"
            raise ServiceError("InvalidParameterValue", f"{where} is invalid. Reason: {reason}.")
        self._hide_for(now, message, seconds)

    def delete(self, now: float, handle: str) -> None:
        """Delete the message of a receipt handle, if it was not received again later.

        Raises
        ------
        ServiceError
            If the handle belongs to another queue.
        """
        self._advance(now)
        message = self._find(handle)
        if message is not None:
            self._drop(message)

    def purge(self, now: float) -> None:
        """Delete all messages."""
        self._advance(now)
        for message in list(self._messages.values()):
            self._drop(message)

    def count(self, now: float) -> Counts:
        """Return the number of messages in each state."""
        self._advance(now)
        return Counts(visible=len(self._visible), in_flight=self._in_flight, delayed=self._delayed)

    def next_visible(self, now: float) -> float | None:
        """Return when the next hidden message becomes visible; None if none is hidden."""
        self._advance(now)
        while self._hidden and self._is_outdated(self._hidden[0]):
            heapq.heappop(self._hidden)
        return self._hidden[0][0] if self._hidden else None

    @property
    def _in_flight(self) -> int:
        return len(self._messages) - len(self._visible) - self._delayed

    def _advance(self, now: float) -> None:
        """Make due messages visible, and delete expired messages."""
        while self._hidden and self._hidden[0][0] <= now:
            entry = heapq.heappop(self._hidden)
            if not self._is_outdated(entry):
                self._show(self._messages[entry[1]])
        while self._messages:
            oldest = next(iter(self._messages.values()))
            if now - oldest.sent < self.attributes.retention:
                break
            self._drop(oldest)

    def _hide_for(self, now: float, message: _Message, seconds: int) -> None:
        if seconds > 0:
            self._hide(message, now + seconds)
        else:
            message.hidden_until = now
            self._show(message)

    def _hide(self, message: _Message, until: float) -> None:
        message.hidden_until = until
        heapq.heappush(self._hidden, (until, message.number))
        if len(self._hidden) > 2 * (len(self._messages) - len(self._visible)) + _SPARE:
            self._hidden = [entry for entry in set(self._hidden) if not self._is_outdated(entry)]
            heapq.heapify(self._hidden)

    def _is_outdated(self, entry: tuple[float, int]) -> bool:
        until, number = entry
        message = self._messages.get(number)
        return message is None or number in self._visible or message.hidden_until != until

    def _show(self, message: _Message) -> None:
        if message.delayed:
            message.delayed = False
            self._delayed -= 1
        self._visible[message.number] = message

    def _drop(self, message: _Message) -> None:
        del self._messages[message.number]
        self._visible.pop(message.number, None)
        self._delayed -= message.delayed

    def _find(self, handle: str) -> _Message | None:
        """Return the message of a handle, if the handle is that of its last receive."""
        number, receives = self._read(handle)
        message = self._messages.get(number)
        return message if message is not None and message.receives == receives else None

    def _read(self, handle: str) -> tuple[int, int]:
        """Return the number of a handle's message, and of the receive that returned the handle."""
        try:
            key, number, receives = base64.b64decode(handle, validate=True).decode("ascii").split(".")
            found = int(key, 16), int(number), int(receives)
        except (ValueError, binascii.Error):
            found = (-1, 0, 0)
        if found[0] != self._key:
            raise ServiceError("ReceiptHandleIsInvalid", f'The input receipt handle "{handle}" is not valid.')
        return found[1:]

    def _id(self, message: _Message) -> str:
        return str(UUID(int=self._key ^ message.number))

    def _delivery(self, message: _Message) -> Delivery:
        handle = f"{self._key:x}.{message.number}.{message.receives}"
        return Delivery(
            id=self._id(message),
            body=message.body,
            md5=message.md5,
            handle=base64.b64encode(handle.encode()).decode(),
            receives=message.receives,
            sent=message.sent,
            first_received=message.first_received,
        )


def _name_handle(handle: str) -> str:
    return f"Value {handle} for parameter ReceiptHandle"

"""SQS's operations on messages: send, receive, change their visibility and delete them."""

import hashlib
from collections.abc import Callable
from typing import Any

from asyncbatch.emulator.faults import ServiceError
from asyncbatch.emulator.fields import Fields, read_list, read_number, read_text
from asyncbatch.emulator.limits import BATCH_LIMIT, check_batch
from asyncbatch.emulator.queues import VISIBILITY_LIMIT, Delivery
from asyncbatch.emulator.shelf import HeldQueue, Operation, Shelf

_LONGEST_DELAY = 900
_LONGEST_WAIT = 20


class Messages:
    """Operations on the messages of a shelf's queues.

    Parameters
    ----------
    shelf : Shelf
        The queues.
    clock : callable
        Returns the present time, in seconds since the epoch.
    """

    def __init__(self, shelf: Shelf, clock: Callable[[], float]) -> None:
        self._shelf = shelf
        self._clock = clock

    def operations(self) -> dict[str, Operation]:
        """Return the operations by name; `ReceiveMessage` returns an awaitable."""
        found: dict[str, Operation] = {}
        for name, call, known in (
            ("SendMessage", self._send, {"MessageBody", "DelaySeconds"}),
            ("ChangeMessageVisibility", self._change_visibility, {"ReceiptHandle", "VisibilityTimeout"}),
            ("DeleteMessage", self._delete, {"ReceiptHandle"}),
        ):
            found[name] = (self._make_single(call), frozenset({"QueueUrl", *known}))
            found[f"{name}Batch"] = (self._make_batch(call, {"Id", *known}), frozenset({"QueueUrl", "Entries"}))
        lists = {"AttributeNames", "MessageAttributeNames", "MessageSystemAttributeNames"}
        numbers = {"MaxNumberOfMessages", "VisibilityTimeout", "WaitTimeSeconds"}
        found["ReceiveMessage"] = (self._receive, frozenset({"QueueUrl", *lists, *numbers}))
        return found

    def _make_single(self, call: Callable[[HeldQueue, Fields], dict[str, str]]) -> Callable[[Fields], object]:
        """Return the operation that applies `call` to one message."""

        def answer(fields: Fields) -> object:
            held = self._shelf.find(fields)
            result = call(held, fields)
            held.waiters.serve()
            return result or None

        return answer

    def _make_batch(
        self, call: Callable[[HeldQueue, Fields], dict[str, str]], known: set[str]
    ) -> Callable[[Fields], object]:
        """Return the operation that applies `call` to each entry of a batch."""

        def answer(fields: Fields) -> object:
            held, entries = self._shelf.find(fields), _read_entries(fields, known)
            successful: list[dict[str, Any]] = []
            failed: list[dict[str, Any]] = []
            for entry in entries:
                try:
                    successful.append({"Id": entry["Id"], **call(held, entry)})
                except ServiceError as error:
                    failed.append(
                        {"Id": entry["Id"], "Code": error.code, "Message": error.message, "SenderFault": True}
                    )
            held.waiters.serve()
            return {"Successful": successful, "Failed": failed}

        return answer

    def _send(self, held: HeldQueue, fields: Fields) -> dict[str, str]:
        body = read_text(fields, "MessageBody")
        delay = read_number(fields, "DelaySeconds", 0, _LONGEST_DELAY)
        md5 = hashlib.md5(body.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()
        return {"MessageId": held.queue.send(self._clock(), body, delay=delay, md5=md5), "MD5OfMessageBody": md5}

    def _change_visibility(self, held: HeldQueue, fields: Fields) -> dict[str, str]:
        seconds = read_number(fields, "VisibilityTimeout", 0, VISIBILITY_LIMIT)
        if seconds is None:
            raise ServiceError("MissingParameter", "The request must contain the parameter VisibilityTimeout.")
        held.queue.change_visibility(self._clock(), read_text(fields, "ReceiptHandle"), seconds)
        return {}

    def _delete(self, held: HeldQueue, fields: Fields) -> dict[str, str]:
        held.queue.delete(self._clock(), read_text(fields, "ReceiptHandle"))
        return {}

    async def _receive(self, fields: Fields) -> object:
        held = self._shelf.find(fields)
        wait = read_number(fields, "WaitTimeSeconds", 0, _LONGEST_WAIT)
        found = await held.waiters.receive(
            read_number(fields, "MaxNumberOfMessages", 1, BATCH_LIMIT) or 1,
            visibility=read_number(fields, "VisibilityTimeout", 0, VISIBILITY_LIMIT),
            wait=held.queue.attributes.wait if wait is None else wait,
        )
        wanted = {*read_list(fields, "AttributeNames"), *read_list(fields, "MessageSystemAttributeNames")}
        return {"Messages": [_write_delivery(delivery, wanted) for delivery in found]} if found else {}


def _read_entries(fields: Fields, known: set[str]) -> list[Fields]:
    """Return the entries of a batch, after checking the batch."""
    entries = read_list(fields, "Entries")
    for entry in entries:
        if not isinstance(entry, dict):
            raise ServiceError("InvalidParameterValue", "An entry of a batch must be an object.")
        if unknown := entry.keys() - known:
            reason = f"The embedded endpoint does not support {', '.join(sorted(unknown))} in an entry."
            raise ServiceError("UnsupportedOperation", reason)
    bodies = [read_text(entry, "MessageBody") for entry in entries] if "MessageBody" in known else []
    check_batch([read_text(entry, "Id") for entry in entries], bodies)
    return entries


def _write_delivery(delivery: Delivery, wanted: set[str]) -> dict[str, object]:
    """Return a message in the format of SQS, with the requested attributes."""
    attributes = {
        "ApproximateReceiveCount": str(delivery.receives),
        "ApproximateFirstReceiveTimestamp": str(int(delivery.first_received * 1000)),
        "SentTimestamp": str(int(delivery.sent * 1000)),
    }
    chosen = {name: value for name, value in attributes.items() if name in wanted or "All" in wanted}
    return {
        "MessageId": delivery.id,
        "ReceiptHandle": delivery.handle,
        "MD5OfBody": delivery.md5,
        "Body": delivery.body,
        **({"Attributes": chosen} if chosen else {}),
    }

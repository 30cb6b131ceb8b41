"""SQS's operations on queues: create, find, list, tag, describe and delete them."""

import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from asyncbatch.emulator.faults import ServiceError
from asyncbatch.emulator.fields import (
    Fields,
    read_attributes,
    read_list,
    read_number,
    read_text,
    read_texts,
    write_attributes,
)
from asyncbatch.emulator.queues import Queue, QueueAttributes
from asyncbatch.emulator.waiters import Waiters

Operation = tuple[Callable[[Fields], Any], frozenset[str]]
"""An operation, and the fields that it supports: ignoring others would give wrong responses."""

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,80}")
_PAGE: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldQueue:
    """A queue and its waiting receives."""

    name: str
    queue: Queue
    waiters: Waiters
    tags: dict[str, str]
    created: float


class Shelf:
    """The queues of one account, by name.

    Parameters
    ----------
    url : str
        Prefix of the URLs of queues; it ends with the account's number.
    region : str
        Region of the queues.
    clock : callable
        Returns the present time, in seconds since the epoch.
    """

    def __init__(self, url: str, region: str, clock: Callable[[], float]) -> None:
        self._url = url
        self._arn = f"arn:aws:sqs:{region}:{url.rpartition('/')[2]}"
        self._clock = clock
        self._queues: dict[str, HeldQueue] = {}

    def operations(self) -> dict[str, Operation]:
        """Return the operations by name."""
        return {
            "CreateQueue": (self._create, frozenset({"QueueName", "Attributes", "tags"})),
            "DeleteQueue": (self._delete, frozenset({"QueueUrl"})),
            "GetQueueAttributes": (self._get_attributes, frozenset({"QueueUrl", "AttributeNames"})),
            "GetQueueUrl": (self._get_url, frozenset({"QueueName", "QueueOwnerAWSAccountId"})),
            "ListQueueTags": (self._list_tags, frozenset({"QueueUrl"})),
            "ListQueues": (self._list, frozenset({"QueueNamePrefix", "MaxResults", "NextToken"})),
            "PurgeQueue": (self._purge, frozenset({"QueueUrl"})),
            "SetQueueAttributes": (self._set_attributes, frozenset({"QueueUrl", "Attributes"})),
            "TagQueue": (self._tag, frozenset({"QueueUrl", "Tags"})),
            "UntagQueue": (self._untag, frozenset({"QueueUrl", "TagKeys"})),
        }

    def create(self, name: str, attributes: QueueAttributes, tags: Mapping[str, str]) -> str:
        """Create a queue and return its URL; a queue with the same attributes may exist.

        Raises
        ------
        ServiceError
            If the name is not allowed, or there is a queue with other attributes.
        """
        if not _NAME.fullmatch(name):
            raise ServiceError("InvalidParameterValue", f"A queue can't be called {name[:100]!r}.")
        if name not in self._queues:
            queue = Queue(attributes, key=secrets.randbits(128))
            waiters = Waiters(queue, self._clock)
            self._queues[name] = HeldQueue(
                name=name, queue=queue, waiters=waiters, tags=dict(tags), created=self._clock()
            )
        elif self._queues[name].queue.attributes != attributes:
            raise ServiceError("QueueNameExists", f"A queue {name} already exists with other attributes.")
        return f"{self._url}/{name}"

    def names(self) -> list[str]:
        """Return the names of all queues, in order."""
        return sorted(self._queues)

    def find(self, fields: Fields) -> HeldQueue:
        """Return the queue of a request, ignoring the host in its URL.

        Raises
        ------
        ServiceError
            If there is none.
        """
        return self._get_queue(read_text(fields, "QueueUrl").rpartition("/")[2])

    def _get_queue(self, name: str) -> HeldQueue:
        if name not in self._queues:
            raise ServiceError("QueueDoesNotExist", f"The queue {name[:100]} does not exist.")
        return self._queues[name]

    def _create(self, fields: Fields) -> object:
        attributes = read_attributes(read_texts(fields, "Attributes"), QueueAttributes())
        return {"QueueUrl": self.create(read_text(fields, "QueueName"), attributes, read_texts(fields, "tags"))}

    def _delete(self, fields: Fields) -> None:
        held = self.find(fields)
        del self._queues[held.name]
        held.waiters.close(ServiceError("QueueDoesNotExist", f"The queue {held.name} was deleted."))

    def _get_url(self, fields: Fields) -> object:
        return {"QueueUrl": f"{self._url}/{self._get_queue(read_text(fields, 'QueueName')).name}"}

    def _list(self, fields: Fields) -> object:
        given = {"QueueNamePrefix": "", "NextToken": "", **fields}
        prefix, after = read_text(given, "QueueNamePrefix"), read_text(given, "NextToken")
        most = read_number(fields, "MaxResults", 1, _PAGE) or _PAGE
        names = [name for name in self.names() if name.startswith(prefix) and name > after]
        more = {"NextToken": names[most - 1]} if len(names) > most else {}
        return {"QueueUrls": [f"{self._url}/{name}" for name in names[:most]], **more} if names else {}

    def _list_tags(self, fields: Fields) -> object:
        return {"Tags": self.find(fields).tags}

    def _tag(self, fields: Fields) -> None:
        self.find(fields).tags.update(read_texts(fields, "Tags"))

    def _untag(self, fields: Fields) -> None:
        held = self.find(fields)
        for key in read_list(fields, "TagKeys"):
            held.tags.pop(key, None)

    def _get_attributes(self, fields: Fields) -> object:
        held, wanted = self.find(fields), set(read_list(fields, "AttributeNames"))
        counts = held.queue.count(self._clock())
        values = {
            **write_attributes(held.queue.attributes),
            "ApproximateNumberOfMessages": str(counts.visible),
            "ApproximateNumberOfMessagesDelayed": str(counts.delayed),
            "ApproximateNumberOfMessagesNotVisible": str(counts.in_flight),
            "CreatedTimestamp": str(int(held.created)),
            "QueueArn": f"{self._arn}:{held.name}",
        }
        if unknown := wanted - values.keys() - {"All"}:
            raise ServiceError("InvalidAttributeName", f"Unknown Attribute {', '.join(map(str, unknown))}.")
        return {"Attributes": {key: value for key, value in values.items() if key in wanted or "All" in wanted}}

    def _set_attributes(self, fields: Fields) -> None:
        held = self.find(fields)
        held.queue.attributes = read_attributes(read_texts(fields, "Attributes"), held.queue.attributes)

    def _purge(self, fields: Fields) -> None:
        self.find(fields).queue.purge(self._clock())

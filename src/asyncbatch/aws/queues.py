"""SQS queues and their messages."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import ceil
from typing import Any, Final, Self
from urllib.parse import urlsplit, urlunsplit

import anyio

from asyncbatch.aws.errors import by_code, is_beyond_limit, translated
from asyncbatch.aws.protocols import Received
from asyncbatch.aws.retries import Endurance, endure
from asyncbatch.aws.session import AwsSession
from asyncbatch.errors import AwsBusy, HandleStale, QueueGone

LONGEST_POLL: Final = 20.0
"""Seconds that SQS lets a receive wait."""

NEW: Final = 60.0
"""Seconds for which SQS may say that a queue is not there, on one connection or another, after it was created."""

SETTLING: Final = 1.0
"""Seconds after its creation from which a queue may be used:
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_CreateQueue.html"""

_RETENTION: Final = 14 * 24 * 3600
"""Seconds that messages are kept, the most there is: SQS counts from the sending, also while a worker has them."""


_MESSAGE_SIZE: Final = 2**20
"""Bytes of a message, and of a batch of them."""


def on_endpoint(queue: str, endpoint_url: str | None) -> str:
    """Return a queue's URL as seen through an endpoint: an emulator's stack may name another host."""
    if endpoint_url is None:
        return queue
    endpoint, path = urlsplit(endpoint_url), urlsplit(queue).path
    return urlunsplit((endpoint.scheme, endpoint.netloc, path, "", ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class Queues:
    """Queues, by URL, through one client."""

    endpoint_url: str | None
    new_until: float = 0.0
    """Until when, by the event loop's clock, a queue that SQS does not know may be too new."""
    _client: Any = field(repr=False)
    _endurance: Endurance = field(default_factory=Endurance, repr=False)

    @classmethod
    async def open(
        cls, session: AwsSession, *, connections: int = 10, longest_wait: float = 0.0, new_for: float = 0.0
    ) -> Self:
        """Return queues over a client of their own.

        Parameters
        ----------
        connections : int
            Requests under way at one time.
        longest_wait : float
            Seconds, for one that polls.
        new_for : float
            Seconds for which its queues count as new.
        """
        client = await session.client("sqs", connections=connections, longest_wait=longest_wait)
        return cls(
            endpoint_url=session.endpoint_url,
            new_until=anyio.current_time() + new_for,
            _client=client,
            _endurance=session.endurance,
        )

    @contextmanager
    def _translated(self, action: str) -> Iterator[None]:
        """Translate errors; that a new queue is not there is one that passes."""
        try:
            with translated(action):
                yield
        except QueueGone as error:
            if anyio.current_time() < self.new_until:
                raise AwsBusy(f"{error}; it is new") from error
            raise

    async def create(self, name: str, *, lease: float, tags: Mapping[str, str]) -> str:
        """Create a queue and return its URL."""
        attributes = {
            "VisibilityTimeout": str(ceil(lease)),
            "MessageRetentionPeriod": str(_RETENTION),
            # The most there is, and the default of today: a queue may not have less where accounts differ.
            "MaximumMessageSize": str(_MESSAGE_SIZE),
        }

        async def call() -> str:
            with translated(f"sqs:CreateQueue {name}"):
                answer = await self._client.create_queue(QueueName=name, Attributes=attributes, tags=dict(tags))
            return on_endpoint(answer["QueueUrl"], self.endpoint_url)

        return await endure(call, self._endurance)

    async def drop(self, queue: str) -> None:
        """Delete a queue; an absent one does not matter."""

        async def call() -> None:
            with translated(f"sqs:DeleteQueue {queue}"):
                await self._client.delete_queue(QueueUrl=queue)

        try:
            await endure(call, self._endurance)
        except QueueGone:
            return

    async def check(self, queue: str) -> None:
        """Ask for a queue's attributes, to see that it is there and may be used."""
        with translated(f"sqs:GetQueueAttributes {queue}"):
            await self._client.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])

    async def count(self, queue: str) -> int:
        """Return how many messages a queue holds: waiting, delayed and received but not deleted.

        SQS counts approximately, and up to a minute late.
        """
        names = [f"ApproximateNumberOfMessages{state}" for state in ("", "NotVisible", "Delayed")]

        async def call() -> int:
            with self._translated(f"sqs:GetQueueAttributes {queue}"):
                answer = await self._client.get_queue_attributes(QueueUrl=queue, AttributeNames=names)
            return sum(int(number) for number in answer.get("Attributes", {}).values())

        return await endure(call, self._endurance)

    async def named(self, prefix: str) -> dict[str, dict[str, str]]:
        """Return the tags of all queues whose names start with `prefix`, by the queues' URLs."""
        found: dict[str, dict[str, str]] = {}
        token: dict[str, str] = {}
        while True:
            with translated(f"sqs:ListQueues {prefix}"):
                page = await self._client.list_queues(QueueNamePrefix=prefix, MaxResults=1000, **token)
            for url in page.get("QueueUrls", []):
                queue = on_endpoint(url, self.endpoint_url)
                try:
                    with translated(f"sqs:ListQueueTags {queue}"):
                        found[queue] = (await self._client.list_queue_tags(QueueUrl=queue)).get("Tags", {})
                except QueueGone:
                    continue
            if "NextToken" not in page:
                return found
            token = {"NextToken": page["NextToken"]}

    async def send(self, queue: str, texts: Sequence[str]) -> None:
        """Send up to ten messages of together at most 1 MiB; those that AWS could not take are sent again."""
        left = dict(enumerate(texts))

        async def call() -> None:
            entries = [{"Id": str(place), "MessageBody": text} for place, text in left.items()]
            action = f"sqs:SendMessage {queue} ({len(entries)} messages)"
            with self._translated(action):
                answer = await self._client.send_message_batch(QueueUrl=queue, Entries=entries)
            for success in answer.get("Successful", []):
                left.pop(int(success["Id"]))
            _raise_failures(answer, action)

        await endure(call, self._endurance)

    async def receive(self, queue: str, *, most: int, wait: float, lease: float) -> list[Received]:
        """Return up to `most` messages (10 at most), waiting up to `wait` seconds (20 at most) for the first.

        Not repeated here: a loop that receives asks again anyway.
        """
        with self._translated(f"sqs:ReceiveMessage {queue}"):
            answer = await self._client.receive_message(
                QueueUrl=queue,
                MaxNumberOfMessages=most,
                WaitTimeSeconds=ceil(wait),
                VisibilityTimeout=ceil(lease),
                MessageSystemAttributeNames=["ApproximateReceiveCount"],
            )
        return [
            Received(
                text=message["Body"],
                handle=message["ReceiptHandle"],
                deliveries=int(message.get("Attributes", {}).get("ApproximateReceiveCount", 1)),
            )
            for message in answer.get("Messages", [])
        ]

    async def extend(self, queue: str, handles: Sequence[str], seconds: float) -> list[str]:
        """Let the leases of up to ten messages end `seconds` from now; return the handles that were stale."""
        entries = [
            {"Id": str(place), "ReceiptHandle": handle, "VisibilityTimeout": ceil(seconds)}
            for place, handle in enumerate(handles)
        ]
        action = f"sqs:ChangeMessageVisibility {queue} ({len(entries)} messages)"

        async def call() -> list[str]:
            with self._translated(action):
                answer = await self._client.change_message_visibility_batch(QueueUrl=queue, Entries=entries)
            return _stale(answer, handles, action)

        return await endure(call, self._endurance)

    async def remove(self, queue: str, handles: Sequence[str]) -> None:
        """Delete up to ten messages. A stale handle deletes nothing and is no error: another has the tile now."""
        entries = [{"Id": str(place), "ReceiptHandle": handle} for place, handle in enumerate(handles)]
        action = f"sqs:DeleteMessage {queue} ({len(entries)} messages)"

        async def call() -> None:
            with self._translated(action):
                answer = await self._client.delete_message_batch(QueueUrl=queue, Entries=entries)
            _stale(answer, handles, action)

        await endure(call, self._endurance)


def _stale(answer: Mapping[str, Any], handles: Sequence[str], action: str) -> list[str]:
    """Return the handles that AWS says are stale; raise for any other failure.

    A lease that would reach beyond SQS's limit stays as it is, and so is neither.
    """
    stale = []
    for failure in answer.get("Failed", []):
        code, reason = str(failure.get("Code", "?")), str(failure.get("Message"))
        if is_beyond_limit(code, reason):
            continue
        error = by_code(code, reason, action)
        if not isinstance(error, HandleStale):
            raise error
        stale.append(handles[int(failure["Id"])])
    return stale


def _raise_failures(answer: Mapping[str, Any], action: str) -> None:
    """Raise for the first message of a batch that AWS did not take; its own faults are worth another try."""
    for failure in answer.get("Failed", []):
        code, reason = failure.get("Code", "?"), str(failure.get("Message"))
        if not failure.get("SenderFault", True):
            raise AwsBusy(f"{action}: {reason} ({code})")
        raise by_code(code, reason, action)

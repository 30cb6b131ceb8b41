"""SQS queues and their messages."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import ceil
from typing import Any, Final, Self
from urllib.parse import urlsplit, urlunsplit

import anyio

from asyncbatch.aws.errors import is_beyond_limit, make_error, translate_errors
from asyncbatch.aws.protocols import Received
from asyncbatch.aws.retries import RetryPolicy, call_with_retries
from asyncbatch.aws.session import AwsSession
from asyncbatch.errors import AwsBusy, HandleStale, QueueGone

LONGEST_POLL: Final = 20.0
"""Maximum number of seconds that SQS lets a receive wait."""

NEW: Final = 60.0
"""Seconds after its creation for which SQS may report, on some connections, that a queue does not exist."""

SETTLING: Final = 1.0
"""Seconds after its creation before a queue can be used:
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_CreateQueue.html"""

_RETENTION: Final = 14 * 24 * 3600
"""Seconds that messages are kept, the maximum: SQS counts from the time of sending, even while a worker holds them."""


_MESSAGE_SIZE: Final = 2**20
"""Maximum size in bytes of a message, and of a batch of messages."""


def rewrite_queue_url(queue: str, endpoint_url: str | None) -> str:
    """Rewrite a queue's URL for an endpoint, since an emulator's stack may name another host."""
    if endpoint_url is None:
        return queue
    endpoint, path = urlsplit(endpoint_url), urlsplit(queue).path
    return urlunsplit((endpoint.scheme, endpoint.netloc, path, "", ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class Queues:
    """Creates, uses and deletes queues, identified by URL."""

    endpoint_url: str | None
    new_until: float = 0.0
    """Time on the event loop's clock until which SQS may not know a new queue."""
    _client: Any = field(repr=False)
    _retry_policy: RetryPolicy = field(default_factory=RetryPolicy, repr=False)

    @classmethod
    async def open(
        cls, session: AwsSession, *, connections: int = 10, longest_wait: float = 0.0, new_for: float = 0.0
    ) -> Self:
        """Return an instance with its own client.

        Parameters
        ----------
        connections : int
            Maximum number of concurrent requests.
        longest_wait : float
            Longest wait of a poll in seconds.
        new_for : float
            Seconds for which the queues count as new.
        """
        client = await session.client("sqs", connections=connections, longest_wait=longest_wait)
        return cls(
            endpoint_url=session.endpoint_url,
            new_until=anyio.current_time() + new_for,
            _client=client,
            _retry_policy=session.retry_policy,
        )

    @contextmanager
    def _translate(self, action: str) -> Iterator[None]:
        """Translate errors; "does not exist" is temporary for a new queue."""
        try:
            with translate_errors(action):
                yield
        except QueueGone as error:
            if anyio.current_time() < self.new_until:
                raise AwsBusy(f"{error}; the queue is new") from error
            raise

    async def create(self, name: str, *, lease: float, tags: Mapping[str, str]) -> str:
        """Create a queue and return its URL."""
        attributes = {
            "VisibilityTimeout": str(ceil(lease)),
            "MessageRetentionPeriod": str(_RETENTION),
            # The maximum, and the current default; set explicitly in case accounts differ.
            "MaximumMessageSize": str(_MESSAGE_SIZE),
        }

        async def call() -> str:
            with translate_errors(f"sqs:CreateQueue {name}"):
                answer = await self._client.create_queue(QueueName=name, Attributes=attributes, tags=dict(tags))
            return rewrite_queue_url(answer["QueueUrl"], self.endpoint_url)

        return await call_with_retries(call, self._retry_policy)

    async def drop(self, queue: str) -> None:
        """Delete a queue; a missing queue is ignored."""

        async def call() -> None:
            with translate_errors(f"sqs:DeleteQueue {queue}"):
                await self._client.delete_queue(QueueUrl=queue)

        try:
            await call_with_retries(call, self._retry_policy)
        except QueueGone:
            return

    async def check(self, queue: str) -> None:
        """Read a queue's attributes, to check that it exists and can be used."""
        with translate_errors(f"sqs:GetQueueAttributes {queue}"):
            await self._client.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])

    async def count(self, queue: str) -> int:
        """Return the number of messages in a queue: waiting, delayed, and received but not deleted.

        The number is approximate and up to a minute old.
        """
        names = [f"ApproximateNumberOfMessages{state}" for state in ("", "NotVisible", "Delayed")]

        async def call() -> int:
            with self._translate(f"sqs:GetQueueAttributes {queue}"):
                answer = await self._client.get_queue_attributes(QueueUrl=queue, AttributeNames=names)
            return sum(int(number) for number in answer.get("Attributes", {}).values())

        return await call_with_retries(call, self._retry_policy)

    async def list_named(self, prefix: str) -> dict[str, dict[str, str]]:
        """Return the tags of all queues whose names start with `prefix`, by queue URL."""
        found: dict[str, dict[str, str]] = {}
        token: dict[str, str] = {}
        while True:
            with translate_errors(f"sqs:ListQueues {prefix}"):
                page = await self._client.list_queues(QueueNamePrefix=prefix, MaxResults=1000, **token)
            for url in page.get("QueueUrls", []):
                queue = rewrite_queue_url(url, self.endpoint_url)
                try:
                    with translate_errors(f"sqs:ListQueueTags {queue}"):
                        found[queue] = (await self._client.list_queue_tags(QueueUrl=queue)).get("Tags", {})
                except QueueGone:
                    continue
            if "NextToken" not in page:
                return found
            token = {"NextToken": page["NextToken"]}

    async def send(self, queue: str, texts: Sequence[str]) -> None:
        """Send up to ten messages with a total size of at most 1 MiB; messages that AWS rejected are sent again."""
        left = dict(enumerate(texts))

        async def call() -> None:
            entries = [{"Id": str(place), "MessageBody": text} for place, text in left.items()]
            action = f"sqs:SendMessage {queue} ({len(entries)} messages)"
            with self._translate(action):
                answer = await self._client.send_message_batch(QueueUrl=queue, Entries=entries)
            for success in answer.get("Successful", []):
                left.pop(int(success["Id"]))
            _raise_failures(answer, action)

        await call_with_retries(call, self._retry_policy)

    async def receive(self, queue: str, *, most: int, wait: float, lease: float) -> list[Received]:
        """Return up to `most` messages (at most 10); wait up to `wait` seconds (at most 20) for the first.

        Not retried, since receiving loops call it again anyway.
        """
        with self._translate(f"sqs:ReceiveMessage {queue}"):
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
        """Set the leases of up to ten messages to end in `seconds`, 0 to nack them; return stale handles."""
        entries = [
            {"Id": str(place), "ReceiptHandle": handle, "VisibilityTimeout": ceil(seconds)}
            for place, handle in enumerate(handles)
        ]
        action = f"sqs:ChangeMessageVisibility {queue} ({len(entries)} messages)"

        async def call() -> list[str]:
            with self._translate(action):
                answer = await self._client.change_message_visibility_batch(QueueUrl=queue, Entries=entries)
            return _find_stale(answer, handles, action)

        return await call_with_retries(call, self._retry_policy)

    async def remove(self, queue: str, handles: Sequence[str]) -> None:
        """Ack up to ten messages: delete them. Stale handles are ignored: another worker holds the message now."""
        entries = [{"Id": str(place), "ReceiptHandle": handle} for place, handle in enumerate(handles)]
        action = f"sqs:DeleteMessage {queue} ({len(entries)} messages)"

        async def call() -> None:
            with self._translate(action):
                answer = await self._client.delete_message_batch(QueueUrl=queue, Entries=entries)
            _find_stale(answer, handles, action)

        await call_with_retries(call, self._retry_policy)


def _find_stale(answer: Mapping[str, Any], handles: Sequence[str], action: str) -> list[str]:
    """Return the handles that AWS reports as stale; raise an error for any other failure.

    A lease that would exceed SQS's limit is not changed, and is neither stale nor a failure.
    """
    stale = []
    for failure in answer.get("Failed", []):
        code, reason = str(failure.get("Code", "?")), str(failure.get("Message"))
        if is_beyond_limit(code, reason):
            continue
        error = make_error(code, reason, action)
        if not isinstance(error, HandleStale):
            raise error
        stale.append(handles[int(failure["Id"])])
    return stale


def _raise_failures(answer: Mapping[str, Any], action: str) -> None:
    """Raise an error for the first message of a batch that AWS rejected; AWS's own faults can be retried."""
    for failure in answer.get("Failed", []):
        code, reason = failure.get("Code", "?"), str(failure.get("Message"))
        if not failure.get("SenderFault", True):
            raise AwsBusy(f"{action}: {reason} ({code})")
        raise make_error(code, reason, action)

"""SQS over its wire protocol, AWS JSON 1.0."""

import inspect
import json
from collections.abc import Callable
from typing import Any, Final

from asyncbatch.emulator.faults import ServiceError
from asyncbatch.emulator.fields import Fields, read_fields
from asyncbatch.emulator.messages import Messages
from asyncbatch.emulator.requests import Answer, Request
from asyncbatch.emulator.shelf import Shelf

_TYPE: Final = "application/x-amz-json-1.0"
_PREFIX: Final = "AWS.SimpleQueueService."
_QUERY_CODES: Final = {
    "QueueDoesNotExist": f"{_PREFIX}NonExistentQueue",
    "QueueNameExists": "QueueAlreadyExists",
    "BatchEntryIdsNotDistinct": f"{_PREFIX}BatchEntryIdsNotDistinct",
    "BatchRequestTooLong": f"{_PREFIX}BatchRequestTooLong",
    "EmptyBatchRequest": f"{_PREFIX}EmptyBatchRequest",
    "InvalidBatchEntryId": f"{_PREFIX}InvalidBatchEntryId",
    "MessageNotInflight": f"{_PREFIX}MessageNotInflight",
    "TooManyEntriesInBatchRequest": f"{_PREFIX}TooManyEntriesInBatchRequest",
    "UnsupportedOperation": f"{_PREFIX}UnsupportedOperation",
}
"""Errors with other names in SQS's older protocol, which clients see."""
_SERVER_ERROR: Final = 500


class Sqs:
    """The queues of one account, as SQS's clients use them.

    Parameters
    ----------
    shelf : Shelf
        The queues.
    clock : callable
        Returns the present time, in seconds since the epoch.
    """

    def __init__(self, shelf: Shelf, clock: Callable[[], float]) -> None:
        self._operations = {**shelf.operations(), **Messages(shelf, clock).operations()}

    async def answer(self, request: Request) -> Answer:
        """Answer a request.

        Raises
        ------
        ServiceError
            If it is rejected.
        """
        result = await self.call(request.headers.get("X-Amz-Target", "").rpartition(".")[2], read_fields(request.body))
        return Answer(body=b"" if result is None else json.dumps(result).encode(), content_type=_TYPE)

    async def call(self, name: str, fields: Fields) -> Any:  # noqa: ANN401 - each operation has its own answer
        """Return the answer to an operation.

        Raises
        ------
        ServiceError
            If it is rejected.
        """
        if name not in self._operations:
            raise ServiceError("UnsupportedOperation", f"The embedded endpoint has no operation sqs:{name}.")
        call, known = self._operations[name]
        if unknown := fields.keys() - known:
            reason = f"The embedded endpoint does not support {', '.join(sorted(unknown))} in sqs:{name}."
            raise ServiceError("UnsupportedOperation", reason)
        result = call(fields)
        return await result if inspect.isawaitable(result) else result


def write_error(error: ServiceError) -> Answer:
    """Format an error for clients of SQS."""
    side = "Receiver" if error.status >= _SERVER_ERROR else "Sender"
    return Answer(
        status=error.status,
        body=json.dumps({"__type": f"com.amazonaws.sqs#{error.code}", "message": error.message}).encode(),
        headers={"x-amzn-query-error": f"{_QUERY_CODES.get(error.code, error.code)};{side}"},
        content_type=_TYPE,
    )

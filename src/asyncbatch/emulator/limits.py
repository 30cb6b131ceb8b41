"""Limits of SQS: sizes, characters and batches."""

import re
from collections.abc import Sequence
from typing import Final

from asyncbatch.emulator.faults import ServiceError

SIZE_LIMIT: Final = 2**20
"""Maximum size in bytes of a message, and of all messages of a batch."""

BATCH_LIMIT: Final = 10
"""Maximum number of messages in a batch, and in a receive."""

_CONTROLS: Final = bytes(set(range(32)) - {0x9, 0xA, 0xD})
_ILLEGAL: Final = re.compile("[\ud800-\udfff\ufffe\uffff]")
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,80}")


def check_body(body: str, *, limit: int = SIZE_LIMIT) -> None:
    """Check a message's body.

    Raises
    ------
    ServiceError
        If it is empty, too long, or has characters that XML does not allow.
    """
    if not body:
        raise ServiceError("MissingParameter", "The request must contain the parameter MessageBody.")
    content = body.encode("utf-8", "surrogatepass")
    if len(content) > limit:
        reason = f"Message must be shorter than {limit} bytes."
        raise ServiceError("InvalidParameterValue", f"One or more parameters are invalid. Reason: {reason}")
    # Deleting bytes is far faster than a search by a regular expression.
    if len(content.translate(None, _CONTROLS)) < len(content) or (not body.isascii() and _ILLEGAL.search(body)):
        raise ServiceError("InvalidMessageContents", "The message contains characters outside the allowed set.")


def check_batch(ids: Sequence[str], bodies: Sequence[str] = ()) -> None:
    """Check a batch as a whole.

    Parameters
    ----------
    ids : sequence of str
        The ids of its entries.
    bodies : sequence of str
        The messages, if it sends any.

    Raises
    ------
    ServiceError
        If it is empty or too large, or its ids are not distinct.
    """
    if not ids:
        raise ServiceError("EmptyBatchRequest", "There should be at least one entry in the request.")
    if len(ids) > BATCH_LIMIT:
        raise ServiceError(
            "TooManyEntriesInBatchRequest",
            f"Maximum number of entries per request are {BATCH_LIMIT}. You have sent {len(ids)}.",
        )
    for one in ids:
        if not _ID.fullmatch(one):
            raise ServiceError("InvalidBatchEntryId", f"A batch entry id can't be {one[:100]!r}.")
    if len(set(ids)) < len(ids):
        raise ServiceError("BatchEntryIdsNotDistinct", f"The ids {', '.join(ids)} are not distinct.")
    size = sum(len(body.encode("utf-8", "surrogatepass")) for body in bodies)
    if size > SIZE_LIMIT:
        reason = f"Batch requests cannot be longer than {SIZE_LIMIT} bytes. You have sent {size} bytes."
        raise ServiceError("BatchRequestTooLong", reason)

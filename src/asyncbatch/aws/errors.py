"""Translates errors of botocore and aiohttp to those of `asyncbatch.errors`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import aiohttp
from botocore import exceptions as boto
from botocore.parsers import ResponseParserError

from asyncbatch import errors
from asyncbatch.pages import link_page

_CODES: Final[dict[str, type[errors.AwsError]]] = {
    # credentials
    "InvalidAccessKeyId": errors.CredentialsMissing,
    "InvalidClientTokenId": errors.CredentialsMissing,
    "UnrecognizedClientException": errors.CredentialsMissing,
    "SignatureDoesNotMatch": errors.CredentialsMissing,
    "ExpiredToken": errors.CredentialsMissing,
    "ExpiredTokenException": errors.CredentialsMissing,
    "AuthFailure": errors.CredentialsMissing,
    "AuthorizationHeaderMalformed": errors.CredentialsMissing,
    "IncompleteSignature": errors.CredentialsMissing,
    "InvalidSignatureException": errors.CredentialsMissing,
    "InvalidToken": errors.CredentialsMissing,
    "MissingAuthenticationToken": errors.CredentialsMissing,
    "MissingAuthenticationTokenException": errors.CredentialsMissing,
    "RequestExpired": errors.CredentialsMissing,
    "400": errors.CredentialsMissing,  # S3's response to a HEAD with an expired token, which has no body
    "TokenRefreshRequired": errors.CredentialsMissing,
    # permission
    "AccessDenied": errors.AccessDenied,
    "AccessDeniedException": errors.AccessDenied,
    "UnauthorizedOperation": errors.AccessDenied,
    "403": errors.AccessDenied,
    # absence
    "NoSuchKey": errors.BlobMissing,
    "404": errors.BlobMissing,
    "AWS.SimpleQueueService.NonExistentQueue": errors.QueueGone,
    "QueueDoesNotExist": errors.QueueGone,
    "ReceiptHandleIsInvalid": errors.HandleStale,
    "MessageNotInflight": errors.HandleStale,
    # load; SQS has throttling codes that botocore's standard mode does not know
    "ThrottlingException": errors.AwsBusy,
    "Throttling": errors.AwsBusy,
    "ThrottledException": errors.AwsBusy,
    "RequestThrottled": errors.AwsBusy,
    "RequestThrottledException": errors.AwsBusy,
    "KmsThrottled": errors.AwsBusy,  # of a queue that is encrypted with a key of the account's own
    "TooManyRequestsException": errors.AwsBusy,
    "RequestLimitExceeded": errors.AwsBusy,
    "OverLimit": errors.AwsBusy,
    "SlowDown": errors.AwsBusy,
    "ServiceUnavailable": errors.AwsBusy,
    "ServiceUnavailableException": errors.AwsBusy,
    "InternalError": errors.AwsBusy,
    "InternalFailure": errors.AwsBusy,
    "RequestTimeout": errors.AwsBusy,
    "RequestTimeTooSkewed": errors.AwsBusy,  # temporary: a laptop adjusts its clock soon after it wakes up
    "RequestTimeoutException": errors.AwsBusy,
    "PriorRequestNotComplete": errors.AwsBusy,
    "BandwidthLimitExceeded": errors.AwsBusy,
    "EC2ThrottledException": errors.AwsBusy,
    "LimitExceededException": errors.AwsBusy,
    "TransactionInProgressException": errors.AwsBusy,
    "ProvisionedThroughputExceededException": errors.AwsBusy,
    "429": errors.AwsBusy,
    "500": errors.AwsBusy,
    "504": errors.AwsBusy,
    "502": errors.AwsBusy,
    "503": errors.AwsBusy,
}

_FAULTS: Final = frozenset({500, 502, 503, 504})
"""HTTP statuses of temporary faults."""

_PREFIX: Final = "AWS.SimpleQueueService."

_STALE: Final = ("not available for visibility timeout change", "receipt handle has expired")
"""Texts by which SQS reports a stale handle, since its code only says that a parameter is invalid."""

_BEYOND_LIMIT: Final = "Total VisibilityTimeout for the message is beyond the limit"

_CREDENTIALS: Final = (
    "no usable AWS credentials ({reason}); set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or set AWS_PROFILE; "
    "if they have expired, log in again, for example with `aws sso login`"
)
_UNREACHABLE: Final = "{action}: no response ({reason}); check the network, the region and AWS_ENDPOINT_URL"
_FOREIGN_ANSWER: Final = "{action}: the response is not from AWS ({reason}); check proxies and AWS_ENDPOINT_URL"
_LONGEST: Final = 300
"""Maximum number of characters of a reason, since it may contain a whole page from a proxy."""

_CLASSES: Final[tuple[tuple[type[BaseException], type[errors.AwsError], str], ...]] = (
    (boto.NoCredentialsError, errors.CredentialsMissing, _CREDENTIALS),
    (boto.PartialCredentialsError, errors.CredentialsMissing, _CREDENTIALS),
    (boto.CredentialRetrievalError, errors.CredentialsMissing, _CREDENTIALS),
    (boto.TokenRetrievalError, errors.CredentialsMissing, _CREDENTIALS),
    (boto.ProfileNotFound, errors.CredentialsMissing, _CREDENTIALS),
    (boto.SSOError, errors.CredentialsMissing, _CREDENTIALS),
    (boto.NoAuthTokenError, errors.CredentialsMissing, _CREDENTIALS),
    (boto.MetadataRetrievalError, errors.CredentialsMissing, _CREDENTIALS),
    (boto.RefreshWithMFAUnsupportedError, errors.CredentialsMissing, _CREDENTIALS),
    (boto.FlexibleChecksumError, errors.BlobCorrupt, "{action}: the response was damaged ({reason})"),
    (boto.ResponseStreamingError, errors.BlobCorrupt, "{action}: the response was damaged ({reason})"),
    (boto.IncompleteReadError, errors.BlobCorrupt, "{action}: the response was truncated ({reason})"),
    (aiohttp.ClientPayloadError, errors.BlobCorrupt, "{action}: the response was truncated ({reason})"),
    (ResponseParserError, errors.EndpointUnreachable, _FOREIGN_ANSWER),
    (boto.ConnectionError, errors.EndpointUnreachable, _UNREACHABLE),
    (boto.HTTPClientError, errors.EndpointUnreachable, _UNREACHABLE),
    (aiohttp.ClientError, errors.EndpointUnreachable, _UNREACHABLE),
    (TimeoutError, errors.EndpointUnreachable, _UNREACHABLE),
    (ConnectionError, errors.EndpointUnreachable, _UNREACHABLE),
    (boto.BotoCoreError, errors.AwsError, "{action}: {reason}"),
)

FOREIGN: Final = (boto.ClientError, *(foreign for foreign, _, _ in _CLASSES))
"""The exceptions that the AWS libraries are known to raise."""


@contextmanager
def translate_errors(action: str) -> Iterator[None]:
    """Translate errors of the AWS libraries in the block; `action` names the operation and its resource.

    Raises
    ------
    AwsError
        Or the matching subclass.
    """
    try:
        yield
    except FOREIGN as error:
        raise translate_error(error, action) from error


def translate_error(error: BaseException, action: str) -> errors.AwsError:
    """Return the `AwsError` for an error of the AWS libraries."""
    if isinstance(error, boto.ClientError):
        detail = error.response.get("Error", {})
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        found = make_error(str(detail.get("Code", "")), str(detail.get("Message", error)), action)
        if status in _FAULTS and type(found) is errors.AwsError:  # the code of Batch's own faults is ServerException
            return errors.AwsBusy(*found.args, code=found.code, operation=found.operation)
        return found
    for foreign, ours, text in _CLASSES:
        if isinstance(error, foreign):
            reason = " ".join(str(error).split()) or type(error).__name__
            reason_shown = reason if len(reason) <= _LONGEST else f"{reason[:_LONGEST]} …"
            return ours(text.format(action=action, reason=reason_shown), operation=_parse_operation(action))
    message = f"{type(error).__name__} is not an error of the AWS libraries"
    raise TypeError(message) from error


def make_client_error(code: str, reason: str, status: int, operation: str) -> Exception:
    """Return botocore's error for a rejection by a service, for fake services in tests."""
    answer = {"Error": {"Code": code, "Message": reason}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return boto.ClientError(answer, operation)  # type: ignore[no-any-return]  # botocore has no types


def make_error(code: str, reason: str, action: str) -> errors.AwsError:
    """Return the error for an error code of an AWS service."""
    ours = _CODES.get(code) or _CODES.get(code.removeprefix(_PREFIX)) or errors.AwsError
    if code.endswith("InvalidParameterValue") and any(words in reason.lower() for words in _STALE):
        ours = errors.HandleStale
    text = f"{action}: {reason} ({code or '?'})"
    if ours is errors.CredentialsMissing:
        text = _CREDENTIALS.format(reason=f"{code}: {reason}")
    elif ours is errors.AccessDenied:
        text = f"{text}; ask for this permission: {link_page('permissions')}"
    return ours(text, code=code, operation=_parse_operation(action))


def is_stack_missing(error: errors.AwsError) -> bool:
    """Return whether an error means that there is no such stack, for which CloudFormation has no code."""
    return error.code == "ValidationError" and "does not exist" in str(error)


def is_unchanged(error: errors.AwsError) -> bool:
    """Return whether an error means that an update changes nothing, for which CloudFormation has no code."""
    return error.code == "ValidationError" and "No updates are to be performed" in str(error)


def is_beyond_limit(code: str, reason: str) -> bool:
    """Return whether an error means that a lease would exceed SQS's limit, for which SQS has no code."""
    return code.endswith("InvalidParameterValue") and _BEYOND_LIMIT in reason


def is_cancellation(reason: str) -> bool:
    """Return whether a resource failed only because another did, for which CloudFormation has no status."""
    return "cancelled" in reason.lower()


def _parse_operation(action: str) -> str:
    """Return the operation at the beginning of an action's text; empty if there is none."""
    first = action.partition(" ")[0]
    return first if ":" in first else ""

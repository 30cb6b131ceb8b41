"""Translation of botocore's and aiohttp's errors to ours."""

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
    "400": errors.CredentialsMissing,  # of S3's HEAD, which has no body to say that a token has expired
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
    # load; SQS spells throttling in ways that botocore's standard mode does not know
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
    "RequestTimeTooSkewed": errors.AwsBusy,  # a laptop that wakes up sets its clock soon
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
"""HTTP statuses of faults that pass."""

_PREFIX: Final = "AWS.SimpleQueueService."

_STALE: Final = ("not available for visibility timeout change", "receipt handle has expired")
"""How SQS words a stale handle where its code says only that some parameter is invalid."""

_BEYOND_LIMIT: Final = "Total VisibilityTimeout for the message is beyond the limit"

_CREDENTIALS: Final = (
    "no usable AWS credentials ({reason}); set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile by "
    "AWS_PROFILE; if they have expired, log in again, for instance by `aws sso login`"
)
_UNREACHABLE: Final = "{action}: no answer ({reason}); check the network, the region and AWS_ENDPOINT_URL"
_FOREIGN_ANSWER: Final = "{action}: what answered is not AWS ({reason}); check proxies and AWS_ENDPOINT_URL"
_LONGEST: Final = 300
"""Characters of a reason: it may hold a whole page that a proxy sent."""

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
    (boto.FlexibleChecksumError, errors.BlobCorrupt, "{action}: the body arrived damaged ({reason})"),
    (boto.ResponseStreamingError, errors.BlobCorrupt, "{action}: the body arrived damaged ({reason})"),
    (boto.IncompleteReadError, errors.BlobCorrupt, "{action}: the body arrived cut short ({reason})"),
    (aiohttp.ClientPayloadError, errors.BlobCorrupt, "{action}: the body arrived cut short ({reason})"),
    (ResponseParserError, errors.EndpointUnreachable, _FOREIGN_ANSWER),
    (boto.ConnectionError, errors.EndpointUnreachable, _UNREACHABLE),
    (boto.HTTPClientError, errors.EndpointUnreachable, _UNREACHABLE),
    (aiohttp.ClientError, errors.EndpointUnreachable, _UNREACHABLE),
    (TimeoutError, errors.EndpointUnreachable, _UNREACHABLE),
    (ConnectionError, errors.EndpointUnreachable, _UNREACHABLE),
    (boto.BotoCoreError, errors.AwsError, "{action}: {reason}"),
)

FOREIGN: Final = (boto.ClientError, *(foreign for foreign, _, _ in _CLASSES))
"""All that the AWS libraries are known to raise."""


@contextmanager
def translated(action: str) -> Iterator[None]:
    """Translate whatever the AWS libraries raise in the block; `action` says what was being done, and to what.

    Raises
    ------
    AwsError
        Or the subclass that fits.
    """
    try:
        yield
    except FOREIGN as error:
        raise translation(error, action) from error


def translation(error: BaseException, action: str) -> errors.AwsError:
    """Return our error for a foreign one."""
    if isinstance(error, boto.ClientError):
        detail = error.response.get("Error", {})
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        found = by_code(str(detail.get("Code", "")), str(detail.get("Message", error)), action)
        if status in _FAULTS and type(found) is errors.AwsError:  # Batch's own faults are of code ServerException
            return errors.AwsBusy(*found.args, code=found.code, operation=found.operation)
        return found
    for foreign, ours, text in _CLASSES:
        if isinstance(error, foreign):
            reason = " ".join(str(error).split()) or type(error).__name__
            told = reason if len(reason) <= _LONGEST else f"{reason[:_LONGEST]} …"
            return ours(text.format(action=action, reason=told), operation=_operation(action))
    message = f"{type(error).__name__} is not an error of the AWS libraries"
    raise TypeError(message) from error


def make_client_error(code: str, reason: str, status: int, operation: str) -> Exception:
    """Return botocore's error for a refusal by a service, for what stands for AWS in tests."""
    answer = {"Error": {"Code": code, "Message": reason}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return boto.ClientError(answer, operation)  # type: ignore[no-any-return]  # botocore has no types


def by_code(code: str, reason: str, action: str) -> errors.AwsError:
    """Return our error for an error code of an AWS service."""
    ours = _CODES.get(code) or _CODES.get(code.removeprefix(_PREFIX)) or errors.AwsError
    if code.endswith("InvalidParameterValue") and any(words in reason.lower() for words in _STALE):
        ours = errors.HandleStale
    text = f"{action}: {reason} ({code or '?'})"
    if ours is errors.CredentialsMissing:
        text = _CREDENTIALS.format(reason=f"{code}: {reason}")
    elif ours is errors.AccessDenied:
        text = f"{text}; ask for that right: {link_page('permissions')} lists what is needed"
    return ours(text, code=code, operation=_operation(action))


def is_stack_missing(error: errors.AwsError) -> bool:
    """Whether CloudFormation says that there is no such stack, for which it has no code."""
    return error.code == "ValidationError" and "does not exist" in str(error)


def is_unchanged(error: errors.AwsError) -> bool:
    """Whether CloudFormation says that an update changes nothing, for which it has no code."""
    return error.code == "ValidationError" and "No updates are to be performed" in str(error)


def is_beyond_limit(code: str, reason: str) -> bool:
    """Whether SQS says that a lease would reach beyond its limit, for which it has no code."""
    return code.endswith("InvalidParameterValue") and _BEYOND_LIMIT in reason


def is_cancellation(reason: str) -> bool:
    """Whether a resource of a stack failed only because another did, for which CloudFormation has no status."""
    return "cancelled" in reason.lower()


def _operation(action: str) -> str:
    """Return the operation with which the text of an action begins, if it does."""
    first = action.partition(" ")[0]
    return first if ":" in first else ""

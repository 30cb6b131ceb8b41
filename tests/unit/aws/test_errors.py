import asyncio
import inspect
import pickle
from collections.abc import Iterator
from contextlib import suppress
from string import Formatter
from unittest.mock import MagicMock

import aiohttp
import pytest
from botocore import exceptions as boto
from botocore.parsers import ResponseParserError
from botocore.retries import standard

from asyncbatch import errors
from asyncbatch.aws.errors import make_error, translate_error, translate_errors
from asyncbatch.aws.queues import Queues
from asyncbatch.pages import link_page

PREFIX = "AWS.SimpleQueueService."

CODES = {
    errors.CredentialsMissing: [
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "UnrecognizedClientException",
        "SignatureDoesNotMatch",
        "ExpiredToken",
        "ExpiredTokenException",
        "AuthFailure",
        "AuthorizationHeaderMalformed",
        "IncompleteSignature",
        "InvalidSignatureException",
        "InvalidToken",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "RequestExpired",
        "TokenRefreshRequired",
    ],
    errors.AccessDenied: ["AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "403"],
    errors.BlobMissing: ["NoSuchKey", "404"],
    errors.QueueGone: ["QueueDoesNotExist"],
    errors.HandleStale: ["ReceiptHandleIsInvalid", "MessageNotInflight"],
    errors.AwsBusy: [
        "ThrottlingException",
        "Throttling",
        "ThrottledException",
        "RequestThrottled",
        "RequestThrottledException",
        "KmsThrottled",
        "TooManyRequestsException",
        "RequestLimitExceeded",
        "OverLimit",
        "SlowDown",
        "ServiceUnavailable",
        "InternalError",
        "InternalFailure",
        "RequestTimeout",
        "500",
        "502",
        "503",
    ],
}

CLASSES: dict[type[BaseException], type[errors.AwsError]] = {
    boto.NoCredentialsError: errors.CredentialsMissing,
    boto.PartialCredentialsError: errors.CredentialsMissing,
    boto.CredentialRetrievalError: errors.CredentialsMissing,
    boto.TokenRetrievalError: errors.CredentialsMissing,
    boto.ProfileNotFound: errors.CredentialsMissing,
    boto.SSOTokenLoadError: errors.CredentialsMissing,
    boto.UnauthorizedSSOTokenError: errors.CredentialsMissing,
    boto.NoAuthTokenError: errors.CredentialsMissing,
    boto.MetadataRetrievalError: errors.CredentialsMissing,
    boto.RefreshWithMFAUnsupportedError: errors.CredentialsMissing,
    boto.HTTPClientError: errors.EndpointUnreachable,
    boto.ConnectionClosedError: errors.EndpointUnreachable,
    boto.ReadTimeoutError: errors.EndpointUnreachable,
    boto.EndpointConnectionError: errors.EndpointUnreachable,
    boto.ConnectTimeoutError: errors.EndpointUnreachable,
    boto.ProxyConnectionError: errors.EndpointUnreachable,
    boto.SSLError: errors.EndpointUnreachable,
    aiohttp.ClientConnectionError: errors.EndpointUnreachable,
    aiohttp.ServerDisconnectedError: errors.EndpointUnreachable,
    aiohttp.ServerTimeoutError: errors.EndpointUnreachable,
    TimeoutError: errors.EndpointUnreachable,
    ConnectionResetError: errors.EndpointUnreachable,
    BrokenPipeError: errors.EndpointUnreachable,
    ResponseParserError: errors.EndpointUnreachable,
    boto.FlexibleChecksumError: errors.BlobCorrupt,
    boto.ResponseStreamingError: errors.BlobCorrupt,
    boto.IncompleteReadError: errors.BlobCorrupt,
    aiohttp.ClientPayloadError: errors.BlobCorrupt,
    boto.NoRegionError: errors.AwsError,
    boto.WaiterError: errors.AwsError,
}


def below(kind: type[BaseException]) -> Iterator[type[BaseException]]:
    yield kind
    for inner in kind.__subclasses__():
        yield from below(inner)


def build_error(kind: type[BaseException]) -> BaseException:
    """Return an error of a class, whatever the arguments of its constructor are."""
    text = getattr(kind, "fmt", "")
    named = [name for _, name, _, _ in Formatter().parse(text) if name]
    with suppress(TypeError):
        return kind(**dict.fromkeys(named, "why"))
    with suppress(TypeError):
        return kind(**dict.fromkeys([*named, "error"], "why"))
    return kind(
        *[MagicMock() for name, given in inspect.signature(kind).parameters.items() if given.default is given.empty]
    )


def client_error(code: str) -> boto.ClientError:
    return boto.ClientError({"Error": {"Code": code, "Message": "why"}}, "Operation")


@pytest.mark.parametrize("kind", sorted({*below(boto.BotoCoreError), *below(aiohttp.ClientError)}, key=repr))
def test_all_errors_of_the_aws_libraries_are_translated(kind: type[BaseException]) -> None:
    error = build_error(kind)
    with pytest.raises(errors.AwsError) as caught, translate_errors("s3:GetObject s3://bucket/key"):
        raise error
    assert caught.value.__cause__ is error


def test_start_of_a_proxy_s_page_is_reported() -> None:
    reported = str(translate_error(ResponseParserError("<html> " + "please log in " * 1000), "sqs:SendMessage q"))
    assert reported.startswith("sqs:SendMessage q: the response is not from AWS (<html> please log in ")
    assert len(reported) < 500


@pytest.mark.parametrize(("kind", "ours"), CLASSES.items(), ids=lambda kind: kind.__name__)
def test_errors_are_translated_to_the_right_class(kind: type[BaseException], ours: type[errors.AwsError]) -> None:
    assert type(translate_error(build_error(kind), "action")) is ours


@pytest.mark.parametrize("prefix", ["", PREFIX])
@pytest.mark.parametrize(("ours", "code"), [(ours, code) for ours, codes in CODES.items() for code in codes])
def test_codes_are_translated_to_the_right_class(ours: type[errors.AwsError], code: str, prefix: str) -> None:
    error = translate_error(client_error(prefix + code), "sqs:SendMessage q")
    assert type(error) is ours
    assert code in str(error)
    assert "why" in str(error)


def test_codes_that_botocore_retries_are_busy() -> None:
    codes = {
        *standard.ThrottledRetryableChecker._THROTTLED_ERROR_CODES,  # noqa: SLF001 - documented nowhere else
        *standard.TransientRetryableChecker._TRANSIENT_ERROR_CODES,  # noqa: SLF001
        *map(str, standard.TransientRetryableChecker._TRANSIENT_STATUS_CODES),  # noqa: SLF001
    }
    assert len(codes) > 10
    assert {code for code in codes if type(make_error(code, "why", "action")) is not errors.AwsBusy} == set()


@pytest.mark.parametrize(
    ("status", "ours"),
    [
        *((status, errors.AwsBusy) for status in (500, 502, 503, 504)),
        *((status, errors.AwsError) for status in (400, 403, 404, 501)),
    ],
)
def test_server_errors_are_temporary_with_any_code(status: int, ours: type[errors.AwsError]) -> None:
    answer = {"Error": {"Code": "ServerException", "Message": "why"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    assert type(translate_error(boto.ClientError(answer, "DescribeJobs"), "action")) is ours


def test_older_code_of_a_missing_queue_is_known() -> None:
    assert type(make_error(f"{PREFIX}NonExistentQueue", "why", "action")) is errors.QueueGone


def test_unknown_code_is_reported() -> None:
    error = make_error("Strange", "so it is", "batch:SubmitJob j")
    assert type(error) is errors.AwsError
    assert str(error) == "batch:SubmitJob j: so it is (Strange)"


def test_answer_without_a_code_is_reported() -> None:
    error = translate_error(boto.ClientError({}, "Operation"), "action")
    assert type(error) is errors.AwsError
    assert str(error).startswith("action: ")


def test_operation_is_reported() -> None:
    with pytest.raises(errors.EndpointUnreachable, match="s3:PutObject s3://b/k: no response") as caught:  # noqa: SIM117
        with translate_errors("s3:PutObject s3://b/k"):
            raise TimeoutError
    assert "AWS_ENDPOINT_URL" in str(caught.value)


@pytest.mark.parametrize("error", [boto.NoCredentialsError(), client_error("ExpiredToken")], ids=["none", "expired"])
def test_missing_credentials_have_a_fix(error: Exception) -> None:
    assert "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in str(translate_error(error, "action"))


def test_error_without_text_is_reported_by_its_name() -> None:
    assert "(ConnectionResetError)" in str(translate_error(ConnectionResetError(), "action"))


def test_message_is_one_line() -> None:
    error = boto.ReadTimeoutError(endpoint_url="u\nv", error="first\n  second")
    assert "\n" not in str(translate_error(error, "action"))


@pytest.mark.parametrize("error", [KeyError("k"), asyncio.CancelledError(), errors.MessageError("ours"), OSError("x")])
def test_other_errors_are_not_translated(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, translate_errors("action"):
        raise error
    assert caught.value is error


def test_translation_rejects_errors_of_other_libraries() -> None:
    with pytest.raises(TypeError, match="KeyError is not an error of the AWS libraries"):
        translate_error(KeyError("k"), "action")


def test_missing_permission_is_named_with_the_page_about_permissions() -> None:
    error = make_error("AccessDenied", "User me is not authorized", "sqs:CreateQueue tasks")
    assert isinstance(error, errors.AccessDenied)
    assert str(error) == (
        "sqs:CreateQueue tasks: User me is not authorized (AccessDenied); "
        f"ask for this permission: {link_page('permissions')}"
    )


INVALID = "Value AQEB for parameter ReceiptHandle is invalid. Reason: "


def extend(code: str, message: str) -> list[str]:
    """Extend two leases, of which the second fails, and return the stale handles."""

    async def change(**_: object) -> dict[str, object]:
        return {"Failed": [{"Id": "1", "Code": code, "Message": message, "SenderFault": True}]}

    queues = Queues(endpoint_url=None, _client=MagicMock(change_message_visibility_batch=change))
    return asyncio.run(queues.extend("queue", ["kept", "gone"], 5))


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("ReceiptHandleIsInvalid", "The input receipt handle is invalid."),
        ("MessageNotInflight", ""),
        ("AWS.SimpleQueueService.MessageNotInflight", ""),
        (
            "InvalidParameterValue",
            f"{INVALID}Message does not exist or is not available for visibility timeout change.",
        ),
        ("InvalidParameterValue", f"{INVALID}The receipt handle has expired."),
    ],
)
def test_every_error_for_a_stale_handle_is_recognised(code: str, message: str) -> None:
    assert extend(code, message) == ["gone"]


def test_other_invalid_values_are_not_stale_handles() -> None:
    with pytest.raises(errors.AwsError):
        extend("InvalidParameterValue", "Value -1 for parameter VisibilityTimeout is invalid.")


def test_lease_beyond_the_limit_of_sqs_is_not_an_error() -> None:
    beyond = "Reason: Total VisibilityTimeout for the message is beyond the limit [43200 seconds]."
    assert extend("InvalidParameterValue", f"Value 60 for parameter VisibilityTimeout is invalid. {beyond}") == []


def test_errors_have_code_and_operation() -> None:
    error = translate_error(client_error("AccessDenied"), "sqs:SendMessage q")
    assert (error.code, error.operation) == ("AccessDenied", "sqs:SendMessage")


@pytest.mark.parametrize(
    ("action", "operation"),
    [("sqs:SendMessage https://q", "sqs:SendMessage"), ("reading the machine's metadata", "")],
)
def test_error_without_an_answer_has_no_code(action: str, operation: str) -> None:
    error = translate_error(TimeoutError(), action)
    assert (error.code, error.operation) == ("", operation)


def test_code_and_operation_survive_pickling() -> None:
    error = pickle.loads(pickle.dumps(make_error("Strange", "so it is", "batch:SubmitJob j")))
    assert (error.code, error.operation) == ("Strange", "batch:SubmitJob")

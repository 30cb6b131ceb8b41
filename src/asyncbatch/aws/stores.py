"""Creates obstore's stores for a bucket, and translates their errors.

A put and a get of 320 kB take a quarter of the SDK's CPU time, and do not block the event loop.
"""

import atexit
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlsplit

from botocore.httpsession import get_cert_path
from botocore.regions import EndpointResolver
from obstore.exceptions import BaseError
from obstore.store import S3Store

from asyncbatch.aws.errors import make_error
from asyncbatch.aws.session import CONNECT_TIMEOUT, AwsSession, is_on_this_machine
from asyncbatch.aws.settling import wait_for_threads
from asyncbatch.errors import AwsError, BlobCorrupt, EndpointUnreachable

if TYPE_CHECKING:  # not available at run time
    from obstore.store import ClientConfig, S3Config

_IDLE_CONNECTION: Final = timedelta(seconds=12)
"""How long an idle connection is kept: S3 closes idle connections soon after."""

_LONGEST_REQUEST: Final = timedelta(days=1)
"""Replaces obstore's limit of 30 s for any size. `Transfers` limits hanging requests."""

_NOWHERE: Final = "http://127.0.0.1:9"
"""A dummy proxy: setting it and excluding the endpoint is the way to use no proxy."""

_STATUS: Final = re.compile(r"Server returned non-2xx status code: (\d{3})[^:\n]*: ?(.*)", re.DOTALL)
_ELEMENT: Final = re.compile(r"<(Code|Message)>([^<]*)</")
_DETAILS: Final = "\n\nDebug source:"
_CAUSE: Final = re.compile(r'message: "([^"]+)"')
_NO_RANGE: Final = frozenset({"416", "InvalidRange"})
_FOREIGN: Final = ("Received redirect", "Unable to extract metadata", "Error parsing")
_LONGEST_REASON: Final = 300

_UNREACHABLE: Final = "{action}: no response ({reason}); check the network, the region and AWS_ENDPOINT_URL"
_FOREIGN_ANSWER: Final = "{action}: the response is not from AWS ({reason}); check proxies and AWS_ENDPOINT_URL"


# Runs after the functions that modules register which are imported later.
atexit.register(wait_for_threads)

STORE_ERRORS: Final = (BaseError, FileNotFoundError)
"""The exceptions that obstore raises for responses; the latter means status 404."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StorePlan:
    """The configuration of a bucket's stores, without credentials."""

    bucket: str
    config: "S3Config"
    client: "ClientConfig" = field(repr=False)

    @classmethod
    def of(cls, session: AwsSession, bucket: str) -> Self:
        """Return the configuration for a bucket of a session's account."""
        endpoint = session.endpoint_url or _find_endpoint(session)
        address = _make_config(session, bucket, endpoint)
        client: ClientConfig = {
            "allow_http": address["endpoint"].startswith("http:"),
            "connect_timeout": timedelta(seconds=CONNECT_TIMEOUT),
            "pool_idle_timeout": _IDLE_CONNECTION,
            "timeout": _LONGEST_REQUEST,
        }
        if not client["allow_http"]:
            client["root_certificate"] = _read_certificates(session)
        if is_on_this_machine(endpoint):
            client |= {"proxy_url": _NOWHERE, "proxy_excludes": urlsplit(endpoint).hostname or ""}
        config: S3Config = {
            **address,
            "region": session.region,
            # Set everything, since obstore reads missing values from variables that the SDK does not know.
            "aws_endpoint_url_s3": address["endpoint"],
            "skip_signature": False,
            "unsigned_payload": False,
            "request_payer": False,
            "s3_express": False,
            "checksum_algorithm": "sha256",  # needed for signing anyway
        }
        return cls(bucket=bucket, config=config, client=client)

    def open(self, credentials: Any, *, read_timeout: float | None) -> S3Store:  # noqa: ANN401 - a class of the SDK
        """Return a store that signs requests with some credentials.

        Parameters
        ----------
        credentials : credentials
            Frozen credentials of the SDK.
        read_timeout : float or None
            Seconds without receiving data, including the time in which a large object is sent.
        """
        signing: S3Config = {"access_key_id": credentials.access_key, "secret_access_key": credentials.secret_key}
        # An empty token would be sent.
        token: S3Config = {"session_token": credentials.token} if credentials.token else {}
        silence: ClientConfig = {} if read_timeout is None else {"read_timeout": timedelta(seconds=read_timeout)}
        with translate_store_errors(f"opening s3://{self.bucket}"):
            return S3Store(
                self.bucket,
                config={**self.config, **signing, **token},
                client_options={**self.client, **silence},
                retry_config={"max_retries": 0},  # `retries.call_with_retries` retries and counts
            )


@contextmanager
def translate_store_errors(action: str) -> Iterator[None]:
    """Translate errors of obstore in the block; `action` names the operation and its resource.

    Raises
    ------
    AwsError
        Or the matching subclass.
    """
    try:
        yield
    except STORE_ERRORS as error:
        raise translate_store_error(str(error), action) from error
    except TimeoutError as error:
        raise EndpointUnreachable(_UNREACHABLE.format(action=action, reason="timed out")) from error


@contextmanager
def translate_body_errors(action: str) -> Iterator[None]:
    """Translate errors of obstore while the body of a response arrives.

    Raises
    ------
    BlobCorrupt
        For any error: fetching again shows whether S3 still responds.
    """
    try:
        yield
    except (BaseError, TimeoutError) as error:
        raise BlobCorrupt(f"{action}: the response was truncated ({_shorten(str(error))})") from error


def translate_store_error(text: str, action: str) -> AwsError:
    """Return the error for the text of an obstore error, the only place with status and code."""
    summary, _, details = text.partition(_DETAILS)
    if code := read_code(text):
        if code in _NO_RANGE:
            return BlobCorrupt(f"{action}: the object has fewer bytes than expected")
        said = dict(_ELEMENT.findall(summary)).get("Message") or summary.rpartition("status code: ")[2]
        return make_error(code, _shorten(said), action)
    if "HTTP error" in summary:
        causes = _CAUSE.findall(details)
        reason = _shorten(causes[-1] if causes else summary)
        return EndpointUnreachable(_UNREACHABLE.format(action=action, reason=reason))
    if any(words in summary for words in _FOREIGN):
        return EndpointUnreachable(_FOREIGN_ANSWER.format(action=action, reason=_shorten(summary)))
    return AwsError(f"{action}: {_shorten(summary)}")


def read_code(text: str) -> str:
    """Return the error code in the text of an obstore error, or the status if there is no code.

    Empty if there was no response.
    """
    answer = _STATUS.search(text.partition(_DETAILS)[0])
    return dict(_ELEMENT.findall(answer[2])).get("Code") or answer[1] if answer else ""


def _shorten(text: str) -> str:
    reason = " ".join(text.partition(_DETAILS)[0].split())
    return reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]} …"


def _find_endpoint(session: AwsSession) -> str:
    """Return the endpoint of S3 in the SDK's configuration; empty for AWS's own."""
    if session.get_setting("ignore_configured_endpoint_urls"):
        return ""
    names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
    found = next((os.environ[name] for name in names if os.environ.get(name)), None)
    return found or session.profile().get("endpoint_url", "")


def _make_config(session: AwsSession, bucket: str, endpoint: str) -> "S3Config":
    """Return a bucket's address: path style at a configured endpoint, virtual-hosted style at AWS."""
    if endpoint:
        return {"endpoint": endpoint.rstrip("/"), "virtual_hosted_style_request": False}
    resolver = EndpointResolver(session.data("endpoints"))
    host = resolver.construct_endpoint(
        "s3",
        session.region,
        use_dualstack_endpoint=bool(session.get_setting("use_dualstack_endpoint")),
        use_fips_endpoint=bool(session.get_setting("use_fips_endpoint")),
    )["hostname"]
    if "." in bucket:  # certificates do not match such a host
        return {"endpoint": f"https://{host}", "virtual_hosted_style_request": False}
    return {"endpoint": f"https://{bucket}.{host}", "virtual_hosted_style_request": True}


def _read_certificates(session: AwsSession) -> bytes:
    """Return the certificates that the SDK trusts: those in AWS_CA_BUNDLE, or the SDK's own."""
    path = session.get_setting("ca_bundle") or get_cert_path(verify=True)
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise AwsError(f"can't read the certificates in {path} (AWS_CA_BUNDLE): {error.strerror}") from error

"""Stores of obstore: how they are made for a bucket, and what their errors mean.

A put and a get of 320 kB cost a quarter of the SDK's CPU time, and the event loop is free meanwhile.
"""

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

from asyncbatch.aws.errors import by_code
from asyncbatch.aws.session import CONNECT_TIMEOUT, AwsSession, is_on_this_machine
from asyncbatch.errors import AwsError, BlobCorrupt, EndpointUnreachable

if TYPE_CHECKING:  # they are nowhere at run time
    from obstore.store import ClientConfig, S3Config

_IDLE_CONNECTION: Final = timedelta(seconds=12)
"""How long a connection is kept for the next request: S3 closes idle ones soon after."""

_LONGEST_REQUEST: Final = timedelta(days=1)
"""obstore's own limit is 30 s, whatever the size. `Transfers` limits what hangs."""

_NOWHERE: Final = "http://127.0.0.1:9"
"""A proxy that nothing uses: naming one, with the endpoint excluded, is how to use none."""

_STATUS: Final = re.compile(r"Server returned non-2xx status code: (\d{3})[^:\n]*: ?(.*)", re.DOTALL)
_ELEMENT: Final = re.compile(r"<(Code|Message)>([^<]*)</")
_DETAILS: Final = "\n\nDebug source:"
_CAUSE: Final = re.compile(r'message: "([^"]+)"')
_NO_RANGE: Final = frozenset({"416", "InvalidRange"})
_FOREIGN: Final = ("Received redirect", "Unable to extract metadata", "Error parsing")
_LONGEST_REASON: Final = 300

_UNREACHABLE: Final = "{action}: no answer ({reason}); check the network, the region and AWS_ENDPOINT_URL"
_FOREIGN_ANSWER: Final = "{action}: what answered is not AWS ({reason}); check proxies and AWS_ENDPOINT_URL"


STORE_ERRORS: Final = (BaseError, FileNotFoundError)
"""All that obstore raises of what a server answers; the latter stands for status 404."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StorePlan:
    """How the stores of a bucket are made; all but the credentials."""

    bucket: str
    config: "S3Config"
    client: "ClientConfig" = field(repr=False)

    @classmethod
    def of(cls, session: AwsSession, bucket: str) -> Self:
        """Return the plan for a bucket of a session's account."""
        endpoint = session.endpoint_url or _find_endpoint(session)
        address = _address(session, bucket, endpoint)
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
            # Set, since obstore takes what is not set from variables that the SDK does not know.
            "aws_endpoint_url_s3": address["endpoint"],
            "skip_signature": False,
            "unsigned_payload": False,
            "request_payer": False,
            "s3_express": False,
            "checksum_algorithm": "sha256",  # signing computes it anyway
        }
        return cls(bucket=bucket, config=config, client=client)

    def open(self, credentials: Any, *, read_timeout: float | None) -> S3Store:  # noqa: ANN401 - as the SDK has them
        """Return a store that signs with these credentials.

        Parameters
        ----------
        credentials : credentials
            Frozen, as the SDK has them.
        read_timeout : float or None
            Seconds without a byte of the answer. They pass while a large body is sent, too.
        """
        signing: S3Config = {"access_key_id": credentials.access_key, "secret_access_key": credentials.secret_key}
        # An empty one would be sent.
        token: S3Config = {"session_token": credentials.token} if credentials.token else {}
        silence: ClientConfig = {} if read_timeout is None else {"read_timeout": timedelta(seconds=read_timeout)}
        with translated_store(f"opening s3://{self.bucket}"):
            return S3Store(
                self.bucket,
                config={**self.config, **signing, **token},
                client_options={**self.client, **silence},
                retry_config={"max_retries": 0},  # `retries.endure` repeats, and counts
            )


@contextmanager
def translated_store(action: str) -> Iterator[None]:
    """Translate whatever obstore raises in the block; `action` says what was being done, and to what.

    Raises
    ------
    AwsError
        Or the subclass that fits.
    """
    try:
        yield
    except STORE_ERRORS as error:
        raise translate_store_error(str(error), action) from error
    except TimeoutError as error:
        raise EndpointUnreachable(_UNREACHABLE.format(action=action, reason="timed out")) from error


@contextmanager
def translated_body(action: str) -> Iterator[None]:
    """Translate whatever obstore raises while a body arrives, whose head has arrived.

    Raises
    ------
    BlobCorrupt
        Whatever it is: fetching it again shows whether S3 still answers.
    """
    try:
        yield
    except (BaseError, TimeoutError) as error:
        raise BlobCorrupt(f"{action}: the body arrived cut short ({_shorten(str(error))})") from error


def translate_store_error(text: str, action: str) -> AwsError:
    """Return our error for the text of one of obstore's, which has no other trace of status and code."""
    summary, _, details = text.partition(_DETAILS)
    if code := read_code(text):
        if code in _NO_RANGE:
            return BlobCorrupt(f"{action}: the object has fewer bytes than expected")
        said = dict(_ELEMENT.findall(summary)).get("Message") or summary.rpartition("status code: ")[2]
        return by_code(code, _shorten(said), action)
    if "HTTP error" in summary:
        causes = _CAUSE.findall(details)
        reason = _shorten(causes[-1] if causes else summary)
        return EndpointUnreachable(_UNREACHABLE.format(action=action, reason=reason))
    if any(words in summary for words in _FOREIGN):
        return EndpointUnreachable(_FOREIGN_ANSWER.format(action=action, reason=_shorten(summary)))
    return AwsError(f"{action}: {_shorten(summary)}")


def read_code(text: str) -> str:
    """Return the error code in the text of an error of obstore's, or the status of an answer without one.

    Empty if there was no answer.
    """
    answer = _STATUS.search(text.partition(_DETAILS)[0])
    return dict(_ELEMENT.findall(answer[2])).get("Code") or answer[1] if answer else ""


def _shorten(text: str) -> str:
    reason = " ".join(text.partition(_DETAILS)[0].split())
    return reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]} …"


def _find_endpoint(session: AwsSession) -> str:
    """Return the endpoint of S3 that the user has set up for the SDK; empty if it is AWS's own."""
    if session.setting("ignore_configured_endpoint_urls"):
        return ""
    names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
    found = next((os.environ[name] for name in names if os.environ.get(name)), None)
    return found or session.profile().get("endpoint_url", "")


def _address(session: AwsSession, bucket: str, endpoint: str) -> "S3Config":
    """Return where a bucket is asked: in the path at an endpoint that is set, at a host of its own at AWS."""
    if endpoint:
        return {"endpoint": endpoint.rstrip("/"), "virtual_hosted_style_request": False}
    resolver = EndpointResolver(session.data("endpoints"))
    host = resolver.construct_endpoint(
        "s3",
        session.region,
        use_dualstack_endpoint=bool(session.setting("use_dualstack_endpoint")),
        use_fips_endpoint=bool(session.setting("use_fips_endpoint")),
    )["hostname"]
    if "." in bucket:  # no certificate is for such a host
        return {"endpoint": f"https://{host}", "virtual_hosted_style_request": False}
    return {"endpoint": f"https://{bucket}.{host}", "virtual_hosted_style_request": True}


def _read_certificates(session: AwsSession) -> bytes:
    """Return the certificates that the SDK trusts: those of AWS_CA_BUNDLE, or those that come with it."""
    path = session.setting("ca_bundle") or get_cert_path(verify=True)
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise AwsError(f"the certificates in {path} (AWS_CA_BUNDLE) cannot be read: {error.strerror}") from error

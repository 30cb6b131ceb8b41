"""An AWS session: credentials, endpoint and clients."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

import botocore
from aiobotocore.config import AioConfig
from aiobotocore.credentials import AioCredentials
from aiobotocore.session import get_session
from botocore.exceptions import NoCredentialsError

from asyncbatch.aws.credentials import CredentialSource
from asyncbatch.aws.errors import make_error, translate_errors
from asyncbatch.aws.loader import find_loader
from asyncbatch.aws.retries import OUTAGE, RetryPolicy
from asyncbatch.errors import CredentialsMissing, EndpointUnreachable

CONNECT_TIMEOUT: Final = 5.0
READ_TIMEOUT: Final = 15.0
"""Seconds without receiving data: half of the default lease, so that a dead connection costs a retry but no tile."""

_POLL_MARGIN: Final = 5.0
"""Seconds after the end of a long poll's wait within which its response must begin."""

_TRIES: Final = 3
"""Number of attempts by botocore. `retries.call_with_retries` retries after that."""

_USER_AGENT: Final = f"asyncbatch Botocore/{botocore.__version__}"
"""The user agent. The SDK's own is longer and built twice for each request, in a tenth of the SDK's CPU time."""

_REFUSALS: Final = "asyncbatch_refusals"
"""Key in a request's context: the count of refusals of its credentials when it was signed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """A key pair to use instead of the environment's credentials."""

    access_key: str
    secret_key: str = field(repr=False)

    def environment(self) -> dict[str, str]:
        """Return the environment variables that pass these credentials to another process."""
        return {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key}


@dataclass(frozen=True, slots=True, kw_only=True)
class Signing:
    """Credentials for signing a request."""

    credentials: Any = field(repr=False)
    """Frozen credentials of the SDK."""
    refusals: int
    """Count of refusals of the session's credentials at that time."""


@dataclass(slots=True, kw_only=True)
class AwsSession:
    """Creates clients that are closed with the session, and counts their requests.

    Long polls, heartbeats and objects must not share a connection pool, since ten long polls would block all other
    requests for seconds. Each use therefore has its own client.
    """

    region: str
    endpoint_url: str | None
    requests: Counter[str] = field(default_factory=Counter)
    """Number of requests, including retries, by ``service:Operation``."""
    retry_policy: RetryPolicy = field(default_factory=RetryPolicy)
    """Which failures of its clients' calls are retried, and for how long."""
    transfers: Callable[["AwsSession", str], Any] | None = field(default=None, repr=False)
    """Opens an object that transfers contents, for `asyncbatch.testing`; None for obstore."""
    _source: CredentialSource = field(repr=False)
    _session: Any = field(repr=False)
    _stack: AsyncExitStack = field(repr=False)

    async def suggest_regions(self) -> str:
        """Suggest regions; empty if this region is known to have Batch, or an endpoint is set."""
        if self.endpoint_url:
            return ""
        with translate_errors("reading the list of regions"):
            regions = sorted(await self._session.get_available_regions("batch"))
        if self.region in regions:
            return ""
        near = get_close_matches(self.region, regions)
        return f"did you mean {' or '.join(near)}?" if near else f"choose one of {', '.join(regions)}."

    async def client(  # botocore creates client classes at run time
        self, service: str, *, connections: int = 10, longest_wait: float = 0.0, repeats: bool = True
    ) -> Any:  # noqa: ANN401
        """Return a new client with its own connection pool.

        Parameters
        ----------
        service : str
            The service, such as ``s3``.
        connections : int
            Maximum number of concurrent requests.
        longest_wait : float
            Seconds that the service may take to respond. Above 0 the client is for long polls, which are not retried
            here, since polling loops call again.
        repeats : bool
            Whether the SDK may retry a request whose response is lost.
        """
        config = AioConfig(
            max_pool_connections=connections,
            connect_timeout=CONNECT_TIMEOUT,
            read_timeout=longest_wait + (_POLL_MARGIN if longest_wait else READ_TIMEOUT),
            retries={"mode": "standard", "total_max_attempts": _TRIES if repeats and not longest_wait else 1},
            # Objects have a SHA-256, so an additional CRC would only cost time.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": "path" if self.endpoint_url else "auto"},
            proxies={} if is_on_this_machine(self.endpoint_url) else None,
            user_agent=_USER_AGENT,
            parameter_validation=False,
        )
        with translate_errors(f"opening {service} in {self.region}"):
            client = await self._stack.enter_async_context(
                self._session.create_client(
                    service,
                    region_name=self.region,
                    endpoint_url=self.endpoint_url,
                    config=config,
                    verify=False if _is_plain(self.endpoint_url) else None,
                )
            )
        client.meta.events.register("request-created", self._count)
        client.meta.events.register("after-call", self._note_answer)
        return client

    async def sign(self) -> Signing:
        """Return the credentials for the next request of a client that is not the SDK's.

        Raises
        ------
        botocore.exceptions.NoCredentialsError
            If there are no credentials. The SDK may raise other errors if they can't be read.
        """
        credentials = await self._session.get_credentials()
        if credentials is None:
            raise NoCredentialsError
        frozen = await credentials.get_frozen_credentials()
        return Signing(credentials=frozen, refusals=credentials.refusals)

    def note_answer(self, refusals: int, code: str) -> None:
        """Note whether AWS accepted the credentials of a request, given its error code; empty if it succeeded."""
        credentials = self._source.credentials
        if credentials is None:
            return
        if not code:
            credentials.note_success(refusals)
        elif isinstance(make_error(code, "", ""), CredentialsMissing):
            credentials.note_refusal(refusals, code)

    def get_setting(self, name: str) -> Any:  # noqa: ANN401 - of several types
        """Return a setting of the SDK, from its files or the environment."""
        return self._session.get_config_variable(name)

    def profile(self) -> Mapping[str, str]:
        """Return the user's profile in the SDK's configuration."""
        profile: Mapping[str, str] = self._session.get_scoped_config()
        return profile

    def data(self, name: str) -> Mapping[str, Any]:
        """Return a data file of the SDK, such as ``endpoints``."""
        data: Mapping[str, Any] = self._session.get_data(name)
        return data

    def _count(self, *, request: Any, operation_name: str, event_name: str, **_: object) -> None:  # noqa: ANN401 - the SDK's signature signature
        service = event_name.split(".")[1]
        self.requests[f"{service}:{operation_name}"] += 1
        if self._source.credentials is not None:
            request.context[_REFUSALS] = self._source.credentials.refusals

    def _note_answer(self, *, parsed: Mapping[str, Any], context: Mapping[str, Any], **_: object) -> None:
        if self._source.credentials is not None:
            refusals = context.get(_REFUSALS, self._source.credentials.refusals)
            self.note_answer(refusals, str(parsed.get("Error", {}).get("Code", "")))


@asynccontextmanager
async def open_session(
    *, region: str, endpoint_url: str | None, credentials: Credentials | None = None, outage: float = OUTAGE
) -> AsyncIterator[AwsSession]:
    """Open a session, and close its clients at the end of the block. By default use the environment's credentials.

    Calls are retried for `outage` seconds during an outage of AWS or the network.

    Raises
    ------
    EndpointUnreachable
        If the block raises it in an unknown region: with suggested regions.
    """
    async with AsyncExitStack() as stack:
        with translate_errors("reading the AWS configuration"):
            session = get_session()
            source = CredentialSource(partial(_load, credentials))
            session.register_component("credential_provider", source)
            session.register_component("data_loader", find_loader(session.get_config_variable("data_path")))
        opened = AwsSession(
            region=region,
            endpoint_url=endpoint_url,
            retry_policy=RetryPolicy(outage=outage, standing=lambda: source.credentials),
            _source=source,
            _session=session,
            _stack=stack,
        )
        try:
            yield opened
        except EndpointUnreachable as error:
            if guess := await opened.suggest_regions():
                raise EndpointUnreachable(
                    f"{error}; AWS Batch is not available in region {region!r}: {guess}"
                ) from error
            raise


async def _load(credentials: Credentials | None) -> Any:  # noqa: ANN401 - a class of the SDK
    """Return the given credentials, or those that the SDK finds; a new SDK session reads all files again."""
    if credentials is None:
        return await get_session().get_credentials()
    return AioCredentials(credentials.access_key, credentials.secret_key, method="explicit")


def is_on_this_machine(endpoint_url: str | None) -> bool:
    """Return whether an endpoint is on loopback, which a proxy can't reach."""
    host = urlsplit(endpoint_url).hostname if endpoint_url else None
    return host in {"127.0.0.1", "::1", "localhost"}


def _is_plain(endpoint_url: str | None) -> bool:
    """Return whether requests to an endpoint never use TLS, so that no certificates need to be read."""
    return is_on_this_machine(endpoint_url) and urlsplit(endpoint_url).scheme == "http"

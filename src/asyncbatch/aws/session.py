"""One AWS session: credentials, endpoint, and a client for each purpose."""

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
from asyncbatch.aws.errors import by_code, translated
from asyncbatch.aws.loader import find_loader
from asyncbatch.aws.retries import OUTAGE, Endurance
from asyncbatch.errors import CredentialsMissing, EndpointUnreachable

CONNECT_TIMEOUT: Final = 5.0
READ_TIMEOUT: Final = 15.0
"""Seconds without a byte: half of the default lease, so that a dead connection costs a retry and no tile."""

_POLL_MARGIN: Final = 5.0
"""Seconds beyond a long poll's own wait in which its answer must begin."""

_TRIES: Final = 3
"""Requests that botocore makes for one call. `retries.endure` goes on from there."""

_USER_AGENT: Final = f"asyncbatch Botocore/{botocore.__version__}"
"""Otherwise the SDK builds a longer one twice for each request, which takes a tenth of its CPU time."""

_REFUSALS: Final = "asyncbatch_refusals"
"""In a request's context: how often its credentials had been refused when it was signed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """A key pair, where not the environment's is to be used."""

    access_key: str
    secret_key: str = field(repr=False)

    def environment(self) -> dict[str, str]:
        """Return the variables by which another process takes these credentials."""
        return {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key}


@dataclass(frozen=True, slots=True, kw_only=True)
class Signing:
    """What a request is signed with."""

    credentials: Any = field(repr=False)
    """Frozen, as the SDK has them."""
    refusals: int
    """How often the session's credentials had been refused by then."""


@dataclass(slots=True, kw_only=True)
class AwsSession:
    """Makes clients that end with the session, and counts their requests.

    Long polls, heartbeats and blobs must not share a connection pool: ten long polls would starve all else for
    seconds. So each purpose asks for a client of its own.
    """

    region: str
    endpoint_url: str | None
    requests: Counter[str] = field(default_factory=Counter)
    """Requests sent, retries included, by ``service:Operation``."""
    endurance: Endurance = field(default_factory=Endurance)
    """Which failures of its clients' calls pass, and for how long they are borne."""
    transfers: Callable[["AwsSession", str], Any] | None = field(default=None, repr=False)
    """Opens what moves the contents of a bucket's objects, for `asyncbatch.testing`; None: obstore."""
    _source: CredentialSource = field(repr=False)
    _session: Any = field(repr=False)
    _stack: AsyncExitStack = field(repr=False)

    async def other_regions(self) -> str:
        """Return which regions may be meant; nothing where this one is known to have Batch, or an endpoint is named."""
        if self.endpoint_url:
            return ""
        with translated("reading the list of regions"):
            regions = sorted(await self._session.get_available_regions("batch"))
        if self.region in regions:
            return ""
        near = get_close_matches(self.region, regions)
        return f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(regions)}."

    async def client(  # botocore makes clients at run time
        self, service: str, *, connections: int = 10, longest_wait: float = 0.0, repeats: bool = True
    ) -> Any:  # noqa: ANN401
        """Return a new client with a connection pool of its own.

        Parameters
        ----------
        service : str
            For instance ``s3``.
        connections : int
            Requests at one time.
        longest_wait : float
            Seconds that the service may take before it answers. Above 0 the client is for long polls: a poll that
            fails is not repeated here, since whoever polls asks again.
        repeats : bool
            Whether the SDK may repeat a request whose answer is lost.
        """
        config = AioConfig(
            max_pool_connections=connections,
            connect_timeout=CONNECT_TIMEOUT,
            read_timeout=longest_wait + (_POLL_MARGIN if longest_wait else READ_TIMEOUT),
            retries={"mode": "standard", "total_max_attempts": _TRIES if repeats and not longest_wait else 1},
            # Bodies carry a SHA-256 of ours; a CRC on top costs time and adds nothing.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": "path" if self.endpoint_url else "auto"},
            proxies={} if is_on_this_machine(self.endpoint_url) else None,
            user_agent=_USER_AGENT,
            parameter_validation=False,
        )
        with translated(f"opening {service} in {self.region}"):
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
        """Return what signs the next request of a client that is not the SDK's.

        Raises
        ------
        botocore.exceptions.NoCredentialsError
            If there are no credentials, or whatever the SDK raises where they can't be read.
        """
        credentials = await self._session.get_credentials()
        if credentials is None:
            raise NoCredentialsError
        frozen = await credentials.get_frozen_credentials()
        return Signing(credentials=frozen, refusals=credentials.refusals)

    def note_answer(self, refusals: int, code: str) -> None:
        """Note whether AWS took the credentials of a request, by the code of its error; empty if there was none."""
        credentials = self._source.credentials
        if credentials is None:
            return
        if not code:
            credentials.note_success(refusals)
        elif isinstance(by_code(code, "", ""), CredentialsMissing):
            credentials.note_refusal(refusals, code)

    def setting(self, name: str) -> Any:  # noqa: ANN401 - of several kinds
        """Return what the user has set for the SDK, in its files or in the environment."""
        return self._session.get_config_variable(name)

    def profile(self) -> Mapping[str, str]:
        """Return the user's profile as the SDK has read it."""
        profile: Mapping[str, str] = self._session.get_scoped_config()
        return profile

    def data(self, name: str) -> Mapping[str, Any]:
        """Return data that come with the SDK, such as ``endpoints``."""
        data: Mapping[str, Any] = self._session.get_data(name)
        return data

    def _count(self, *, request: Any, operation_name: str, event_name: str, **_: object) -> None:  # noqa: ANN401 - the SDK's
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
    """Open a session; its clients close with the block. Without `credentials` the environment's are used.

    Calls bear an outage of AWS or of the network for `outage` seconds.

    Raises
    ------
    EndpointUnreachable
        With a guess at the region that is meant, if the block raises it in one that is not known.
    """
    async with AsyncExitStack() as stack:
        with translated("reading the AWS configuration"):
            session = get_session()
            source = CredentialSource(partial(_load, credentials))
            session.register_component("credential_provider", source)
            session.register_component("data_loader", find_loader(session.get_config_variable("data_path")))
        opened = AwsSession(
            region=region,
            endpoint_url=endpoint_url,
            endurance=Endurance(outage=outage, standing=lambda: source.credentials),
            _source=source,
            _session=session,
            _stack=stack,
        )
        try:
            yield opened
        except EndpointUnreachable as error:
            if guess := await opened.other_regions():
                raise EndpointUnreachable(f"{error}; {region} is none in which AWS Batch is known: {guess}") from error
            raise


async def _load(credentials: Credentials | None) -> Any:  # noqa: ANN401 - as the SDK has them
    """Return the credentials that are given, or those that the SDK finds: a new session of its own reads all files."""
    if credentials is None:
        return await get_session().get_credentials()
    return AioCredentials(credentials.access_key, credentials.secret_key, method="explicit")


def is_on_this_machine(endpoint_url: str | None) -> bool:
    """Return whether an endpoint is on loopback, where no proxy can reach it."""
    host = urlsplit(endpoint_url).hostname if endpoint_url else None
    return host in {"127.0.0.1", "::1", "localhost"}


def _is_plain(endpoint_url: str | None) -> bool:
    """Return whether requests to an endpoint never use TLS, so that no certificates need to be read."""
    return is_on_this_machine(endpoint_url) and urlsplit(endpoint_url).scheme == "http"

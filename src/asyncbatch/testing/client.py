"""Replaces aiobotocore: a session, and clients whose requests are handled in the same event loop."""

import inspect
import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel

from asyncbatch.aws.credentials import CredentialSource
from asyncbatch.aws.errors import FOREIGN, make_client_error
from asyncbatch.aws.retries import OUTAGE, RetryPolicy
from asyncbatch.aws.session import AwsSession
from asyncbatch.emulator.faults import ServiceError
from asyncbatch.testing.faults import Fault, Faults
from asyncbatch.testing.services import Answer, Fields, Operations
from asyncbatch.testing.transfers import MemoryTransfers

if TYPE_CHECKING:
    from asyncbatch.testing.jobs import MemoryJob


class ProcessKilled(BaseException):
    """Raised by requests of a killed process, main or a worker, to end the task that makes them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Handles the requests of all sessions of an account."""

    operations: Operations
    faults: Faults
    latency: float | Mapping[str, float]
    """Seconds that a request takes, or a mapping by operation or service."""
    requests: Counter[str] = field(default_factory=Counter)

    async def answer(self, operation: str, fields: dict[str, Any], job: "MemoryJob | None") -> Answer:
        """Handle a request of a worker or of main."""
        self.requests[operation] += 1
        fault = self.faults.hit(operation, " ".join(value for value in fields.values() if isinstance(value, str)))
        way = self._find_latency(operation) / 2
        await _sleep(way + (fault.delay if fault else 0.0))
        if fault is None:
            answer = await _call(self.operations, operation, fields)
        else:
            try:
                answer = await _call_faultily(self.operations, operation, fields, fault)
            finally:
                await strike(fault, job)
        await _sleep(way)  # a caller that is cancelled here does not know whether the request was performed
        return answer

    def _find_latency(self, operation: str) -> float:
        if not isinstance(self.latency, Mapping):
            return self.latency
        return self.latency.get(operation, self.latency.get(operation.partition(":")[0], 0.0))


class MemorySession:
    """The session of one process: main's, or a worker's.

    Parameters
    ----------
    services : Services
        They handle its requests.
    """

    job: "MemoryJob | None" = None
    """The worker of the session; None for main."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._killed = False
        self._requests: set[anyio.CancelScope] = set()

    @asynccontextmanager
    async def open(self, *, region: str, endpoint_url: str | None, outage: float = OUTAGE) -> AsyncIterator[AwsSession]:
        """Open an `AwsSession` with this session."""
        source = CredentialSource(_find_credentials)
        await source.load_credentials()
        async with AsyncExitStack() as stack:
            yield AwsSession(
                region=region,
                endpoint_url=endpoint_url,
                retry_policy=RetryPolicy(outage=outage, standing=lambda: source.credentials),
                transfers=MemoryTransfers.of,
                _source=source,
                _session=self,
                _stack=stack,
            )

    @asynccontextmanager
    async def create_client(self, service: str, *, config: Any, **_: object) -> AsyncIterator["MemoryClient"]:  # noqa: ANN401 - botocore's, without types
        """Create a client, as aiobotocore's session does."""
        yield MemoryClient(self, service, connections=config.max_pool_connections, timeout=config.read_timeout)

    def kill(self) -> None:
        """End current requests and reject others, since their process is gone."""
        self._killed = True
        for scope in list(self._requests):
            scope.cancel()

    async def request(self, operation: str, fields: dict[str, Any], *, timeout: float) -> Answer:  # noqa: ASYNC109 - botocore's
        """Perform a request, or raise an error as botocore does.

        Raises
        ------
        ProcessKilled
            If the process is gone.
        """
        if self._killed:
            raise ProcessKilled
        with anyio.CancelScope() as scope:
            self._requests.add(scope)
            try:
                with anyio.fail_after(timeout):
                    return await self._services.answer(operation, fields, self.job)
            except ServiceError as error:
                raise make_client_error(error.code, error.message, error.status, operation) from error
            finally:
                self._requests.discard(scope)
        raise ProcessKilled


class MemoryClient:
    """A client of one service. Its operations have the names that botocore gives them.

    Parameters
    ----------
    session : MemorySession
        Session of the client.
    service : str
        The service, such as ``s3``.
    connections : int
        Maximum number of concurrent requests.
    timeout : float
        Seconds after which a request without a response fails.
    """

    def __init__(self, session: MemorySession, service: str, *, connections: int, timeout: float) -> None:
        self.meta = SimpleNamespace(events=self)
        self._session = session
        self._service = service
        self._timeout = timeout
        self._connections = anyio.CapacityLimiter(connections)
        self._handlers: dict[str, list[Callable[..., None]]] = {"request-created": [], "after-call": []}

    def register(self, event: str, handler: Callable[..., None]) -> None:
        """Call a handler with each request or response, as botocore does."""
        self._handlers[event].append(handler)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda **fields: self._request("".join(part.capitalize() for part in name.split("_")), fields)

    def get_paginator(self, name: str) -> SimpleNamespace:
        """Return a paginator with a single page."""

        async def paginate(**fields: object) -> AsyncIterator[Answer]:
            yield await getattr(self, name)(**fields)

        return SimpleNamespace(paginate=paginate)

    async def _request(self, name: str, fields: dict[str, Any]) -> Answer:
        async with self._connections:
            request = SimpleNamespace(context={})
            for handler in self._handlers["request-created"]:
                handler(request=request, operation_name=name, event_name=f"request-created.{self._service}.{name}")
            try:
                answer = await self._session.request(f"{self._service}:{name}", fields, timeout=self._timeout)
            except FOREIGN as error:
                self._tell_answer(getattr(error, "response", None), request.context)
                raise
            self._tell_answer(answer, request.context)
            return answer

    def _tell_answer(self, parsed: Answer | None, context: dict[str, Any]) -> None:
        """Call the handlers of a response, if there was one."""
        for handler in self._handlers["after-call"] if parsed is not None else ():
            handler(parsed=parsed, context=context)


async def strike(fault: Fault, job: "MemoryJob | None") -> None:
    """Apply a fault's action to a worker, before it does anything else."""
    if fault.then is not None and job is not None:
        fault.then(job)
        await anyio.lowlevel.checkpoint()


async def _find_credentials() -> SimpleNamespace:
    """Return credentials that may be renewed; they are not used for signing."""
    return SimpleNamespace(method="memory")


async def _sleep(seconds: float) -> None:
    """Sleep, even for no time, so that each request lets other tasks run before and after it."""
    if seconds == math.inf:
        await anyio.sleep_forever()
    else:
        await anyio.sleep(seconds)


async def _call(operations: Operations, operation: str, fields: Fields) -> Answer:
    if operation not in operations:
        raise ServiceError("UnsupportedOperation", f"AWS in memory has no {operation}.")
    answer = operations[operation](fields)
    if inspect.isawaitable(answer):
        answer = await answer
    return answer or {}


async def _call_faultily(operations: Operations, operation: str, fields: dict[str, Any], fault: Fault) -> Answer:
    """Perform a request with a fault."""
    if fault.entries is not None:
        return await _refuse_entries(operations, operation, fields, fault)
    if fault.error is not None and not fault.lost:
        raise fault.refusal()
    answer = await _send(operations, operation, fields, fault)
    if fault.lost:
        raise fault.refusal()
    return _damage(answer, fault)


def _damage(answer: Answer, fault: Fault) -> Answer:
    """Return a response with the damage of a fault."""
    if not (fault.damage or fault.truncated):
        return answer
    if "Body" in answer:
        body = answer["Body"]
        return {**answer, "Body": body.damage() if fault.damage else body.truncate()}
    if not answer.get("Messages"):
        return answer
    first, *others = answer["Messages"]
    text, middle = first["Body"], len(first["Body"]) // 2
    flipped = text[:middle] + chr(ord(text[middle]) ^ 1) + text[middle + 1 :]
    return {**answer, "Messages": [{**first, "Body": flipped}, *others]}


async def _send(operations: Operations, operation: str, fields: Fields, fault: Fault) -> Answer:
    """Perform a request; if it sends messages, apply the fault's copies and delays."""
    if not operation.startswith("sqs:SendMessage"):
        return await _call(operations, operation, fields)
    entries = [{**entry, "DelaySeconds": math.ceil(fault.hidden)} for entry in fields["Entries"]]
    if not fault.copies:
        return {"Successful": [{"Id": entry["Id"]} for entry in entries]}
    answers = [await _call(operations, operation, {**fields, "Entries": entries}) for _ in range(fault.copies)]
    return answers[0]


async def _refuse_entries(operations: Operations, operation: str, fields: Fields, fault: Fault) -> Answer:
    """Perform a batch without the entries that a fault rejects."""
    entries = list(enumerate(fields["Entries"]))
    refused = [entry for place, entry in entries if place in (fault.entries or ())]
    done = [entry for place, entry in entries if place not in (fault.entries or ())]
    answer = await _call(operations, operation, {**fields, "Entries": done}) if done else {"Successful": []}
    code = fault.error if isinstance(fault.error, str) else "InternalError"
    failed = [{"Id": one["Id"], "Code": code, "Message": "by a Fault", "SenderFault": False} for one in refused]
    return {**answer, "Failed": [*answer.get("Failed", []), *failed]}

"""What stands for aiobotocore: a session, and clients whose requests are answered in the same event loop."""

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
    """A process that is killed, main or a worker, does nothing more: its next request ends the task that makes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What answers the requests of all sessions of an account."""

    operations: Operations
    faults: Faults
    latency: float | Mapping[str, float]
    """Seconds that a request takes, or these by operation or service."""
    requests: Counter[str] = field(default_factory=Counter)

    async def answer(self, operation: str, fields: dict[str, Any], job: "MemoryJob | None") -> Answer:
        """Answer a request of a worker's, or of main's."""
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
        await _sleep(way)  # a caller that is cancelled here does not know what it has done
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
        They answer its requests.
    """

    job: "MemoryJob | None" = None
    """The worker whose session it is; None: main."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._killed = False
        self._requests: set[anyio.CancelScope] = set()

    @asynccontextmanager
    async def open(self, *, region: str, endpoint_url: str | None, outage: float = OUTAGE) -> AsyncIterator[AwsSession]:
        """Have our session over this one for the time of the block."""
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
        """Have a client for the time of the block, as aiobotocore's session does."""
        yield MemoryClient(self, service, connections=config.max_pool_connections, timeout=config.read_timeout)

    def kill(self) -> None:
        """End the requests that are under way, and let no other begin: their process is gone."""
        self._killed = True
        for scope in list(self._requests):
            scope.cancel()

    async def request(self, operation: str, fields: dict[str, Any], *, timeout: float) -> Answer:  # noqa: ASYNC109 - botocore's
        """Answer a request, or fail as botocore does.

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
        Whose it is.
    service : str
        For instance ``s3``.
    connections : int
        Requests under way at one time.
    timeout : float
        Seconds after which a request that is not answered fails.
    """

    def __init__(self, session: MemorySession, service: str, *, connections: int, timeout: float) -> None:
        self.meta = SimpleNamespace(events=self)
        self._session = session
        self._service = service
        self._timeout = timeout
        self._connections = anyio.CapacityLimiter(connections)
        self._handlers: dict[str, list[Callable[..., None]]] = {"request-created": [], "after-call": []}

    def register(self, event: str, handler: Callable[..., None]) -> None:
        """Call a handler with each request or answer, as botocore does."""
        self._handlers[event].append(handler)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda **fields: self._request("".join(part.capitalize() for part in name.split("_")), fields)

    def get_paginator(self, name: str) -> SimpleNamespace:
        """Return what pages through an operation's answers: there is one page."""

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
        """Tell of an answer, if there was one."""
        for handler in self._handlers["after-call"] if parsed is not None else ():
            handler(parsed=parsed, context=context)


async def strike(fault: Fault, job: "MemoryJob | None") -> None:
    """Let happen to a worker what a fault says, before it does anything more."""
    if fault.then is not None and job is not None:
        fault.then(job)
        await anyio.lowlevel.checkpoint()


async def _find_credentials() -> SimpleNamespace:
    """Find credentials that somebody may renew; nobody signs with them."""
    return SimpleNamespace(method="memory")


async def _sleep(seconds: float) -> None:
    """Sleep, even if for no time: each request lets other tasks go first, on its way and on its way back."""
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
    """Do with a request what a fault says."""
    if fault.entries is not None:
        return await _refuse_entries(operations, operation, fields, fault)
    if fault.error is not None and not fault.lost:
        raise fault.refusal()
    answer = await _send(operations, operation, fields, fault)
    if fault.lost:
        raise fault.refusal()
    return _damage(answer, fault)


def _damage(answer: Answer, fault: Fault) -> Answer:
    """Return an answer with the damage that a fault does to it."""
    if not (fault.damage or fault.truncated):
        return answer
    if "Body" in answer:
        body = answer["Body"]
        return {**answer, "Body": body.damaged() if fault.damage else body.truncated()}
    if not answer.get("Messages"):
        return answer
    first, *others = answer["Messages"]
    text, middle = first["Body"], len(first["Body"]) // 2
    flipped = text[:middle] + chr(ord(text[middle]) ^ 1) + text[middle + 1 :]
    return {**answer, "Messages": [{**first, "Body": flipped}, *others]}


async def _send(operations: Operations, operation: str, fields: Fields, fault: Fault) -> Answer:
    """Do a request; of one that sends messages, as often and as late as a fault says."""
    if not operation.startswith("sqs:SendMessage"):
        return await _call(operations, operation, fields)
    entries = [{**entry, "DelaySeconds": math.ceil(fault.hidden)} for entry in fields["Entries"]]
    if not fault.copies:
        return {"Successful": [{"Id": entry["Id"]} for entry in entries]}
    answers = [await _call(operations, operation, {**fields, "Entries": entries}) for _ in range(fault.copies)]
    return answers[0]


async def _refuse_entries(operations: Operations, operation: str, fields: Fields, fault: Fault) -> Answer:
    """Do a batch but for the entries that a fault refuses."""
    entries = list(enumerate(fields["Entries"]))
    refused = [entry for place, entry in entries if place in (fault.entries or ())]
    done = [entry for place, entry in entries if place not in (fault.entries or ())]
    answer = await _call(operations, operation, {**fields, "Entries": done}) if done else {"Successful": []}
    code = fault.error if isinstance(fault.error, str) else "InternalError"
    failed = [{"Id": one["Id"], "Code": code, "Message": "by a Fault", "SenderFault": False} for one in refused]
    return {**answer, "Failed": [*answer.get("Failed", []), *failed]}

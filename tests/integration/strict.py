"""An HTTP server in front of the embedded endpoint that adds AWS's restrictions by rules.

The embedded endpoint is more lenient than AWS: its queues can be used immediately, it has one error code for stale
receipt handles, it never throttles, and its tokens do not expire.
"""

import contextlib
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import cycle
from typing import Any, Final, Protocol

import aiohttp
from aiohttp import hdrs, web
from yarl import URL

from asyncbatch.emulator import batch, query, s3, sqs
from asyncbatch.emulator.faults import ServiceError
from asyncbatch.emulator.requests import Answer, Request, name_operation, read_scope

_CONNECTION: Final = {hdrs.EXPECT, hdrs.TRANSFER_ENCODING, hdrs.CONTENT_LENGTH, hdrs.CONNECTION}
"""Headers that are not forwarded."""

Forward = Callable[["Call"], Awaitable[Answer]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request, as rules receive it."""

    operation: str
    """``service:Operation``; operations of Batch are in lower case."""
    fields: Mapping[str, Any]
    """Fields of a JSON request, which SQS and Batch have; otherwise empty."""
    request: Request
    peer: int = 0
    """The port of the client's end of the connection."""

    @property
    def service(self) -> str:
        """The service that the request is for."""
        return self.operation.partition(":")[0]

    def with_fields(self, **changes: object) -> "Call":
        """Return the request with other fields."""
        fields = {**self.fields, **changes}
        return replace(self, fields=fields, request=replace(self.request, body=json.dumps(fields).encode()))


class CutError(Exception):
    """Closes the connection, before the answer or in the middle of it.

    Parameters
    ----------
    answer : Answer, optional
        Answer of which half the body is sent.
    """

    def __init__(self, answer: Answer | None = None) -> None:
        super().__init__()
        self.answer = answer


class Rule(Protocol):
    """Handles some requests as AWS does."""

    async def __call__(self, call: Call, forward: Forward) -> Answer:
        """Return the answer to a request; `forward` gets it from the following rules and the endpoint.

        Raises
        ------
        ServiceError
            To reject it.
        CutError
            To close its connection.
        """
        ...


@dataclass(slots=True, kw_only=True)
class Strict:
    """The server. Its rules can be changed while it runs."""

    target: str
    """The embedded endpoint's URL."""
    rules: list[Rule] = field(default_factory=list)
    """Rules, in the order in which they receive requests."""
    url: str = ""
    counts: Counter[str] = field(default_factory=Counter)
    """Number of requests by operation, including rejected ones."""

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[None]:
        """Serve during the block."""
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(
            connector=connector, auto_decompress=False, timeout=aiohttp.ClientTimeout()
        ) as client:

            async def handle(request: web.Request) -> web.StreamResponse:
                return await self._handle(request, client)

            app = web.Application()
            app.router.add_route("*", "/{path:.*}", handle)
            runner = web.AppRunner(
                app, handler_cancellation=True, access_log=None, auto_decompress=False, shutdown_timeout=0.1
            )
            await runner.setup()
            try:
                await web.TCPSite(runner, "127.0.0.1", 0).start()
                self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
                yield
            finally:
                await runner.cleanup()

    async def _handle(self, request: web.Request, client: aiohttp.ClientSession) -> web.StreamResponse:
        call = await _read_call(request)
        self.counts[call.operation] += 1

        async def send(call: Call) -> Answer:
            return await self._send(call, request.raw_path, client)

        forward: Forward = send
        for rule in reversed(self.rules):
            forward = _chain(rule, forward)
        try:
            answer = await forward(call)
        except ServiceError as error:
            answer = _write_error(error, call)
        except CutError as cut:
            return await _cut(request, cut.answer)
        headers = {**answer.headers, hdrs.CONTENT_TYPE: answer.content_type}
        return web.Response(status=answer.status, body=answer.body, headers=headers)

    async def _send(self, call: Call, path: str, client: aiohttp.ClientSession) -> Answer:
        request = call.request
        url = URL(f"{self.target}{path}", encoded=True)
        async with client.request(
            request.method, url, headers=_filter_headers(request.headers), data=request.body
        ) as response:
            headers = _filter_headers(response.headers)
            content_type = headers.pop(hdrs.CONTENT_TYPE, "")
            if request.method == hdrs.METH_HEAD:
                headers[hdrs.CONTENT_LENGTH] = response.headers.get(hdrs.CONTENT_LENGTH, "0")
            body = await response.read()
            return Answer(status=response.status, body=body, headers=headers, content_type=content_type)


async def _cut(request: web.Request, answer: Answer | None) -> web.StreamResponse:
    """Close a connection, after half of the answer if there is one."""
    assert request.transport is not None
    if answer is None:
        request.transport.abort()
        return web.Response()
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    response.content_type, response.content_length = answer.content_type, len(answer.body)
    with contextlib.suppress(ConnectionError):  # the client has closed the connection
        await response.prepare(request)
        await response.write(answer.body[: len(answer.body) // 2])
        request.transport.close()
    return response


def _filter_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers to forward."""
    return {name: value for name, value in headers.items() if name.title() not in _CONNECTION}


def _chain(rule: Rule, forward: Forward) -> Forward:
    async def answer(call: Call) -> Answer:
        return await rule(call, forward)

    return answer


async def _read_call(request: web.Request) -> Call:
    scope = read_scope(request.headers)
    assert scope is not None, f"{request.method} {request.path} is not signed"
    whole = Request(
        method=request.method,
        path=request.path,
        query=dict(request.query),
        headers=request.headers,
        scope=scope,
        body=await request.content.read(),
    )
    in_json = scope.service in {"sqs", "batch"} and whole.body
    assert request.transport is not None
    return Call(
        operation=name_operation(whole),
        fields=json.loads(whole.body) if in_json else {},
        request=whole,
        peer=request.transport.get_extra_info("peername")[1],
    )


def _write_error(error: ServiceError, call: Call) -> Answer:
    """Return an error in the format of its service."""
    return {"s3": s3.write_error, "sqs": sqs.write_error, "batch": batch.write_error}.get(
        call.service, query.write_error
    )(error)


class NewQueues:
    """Hides new queues: from all requests for a second, and then from every second request for a while.

    Parameters
    ----------
    seconds : float
        Time after a queue's creation in which all requests fail.
    lagging : int
        Number of further requests for each queue that fail; every second one does.
    """

    def __init__(self, *, seconds: float = 1.0, hidden: int = 1) -> None:
        self.rejected: Counter[str] = Counter()
        """Number of rejected requests by operation."""
        self._seconds = seconds
        self._hidden = hidden
        self._created: dict[str, float] = {}
        self._asked: Counter[str] = Counter()

    async def __call__(self, call: Call, forward: Forward) -> Answer:
        """Reject a request for a new queue."""
        name = str(call.fields.get("QueueUrl", "")).rpartition("/")[2]
        if name in self._created and not self._is_visible(name):
            self.rejected[call.operation] += 1
            raise ServiceError("QueueDoesNotExist", "The specified queue does not exist.")
        answer = await forward(call)
        if call.operation == "sqs:CreateQueue":
            self._created[call.fields["QueueName"]] = time.monotonic()
        return answer

    def _is_visible(self, name: str) -> bool:
        if time.monotonic() - self._created[name] < self._seconds:
            return False
        self._asked[name] += 1
        return self._asked[name] % 2 == 0 or self._asked[name] > 2 * self._hidden


_INVALID: Final = "Value AQEB for parameter ReceiptHandle is invalid. Reason: "

STALE: Final = (
    ("ReceiptHandleIsInvalid", "The input receipt handle is invalid."),
    ("MessageNotInflight", "The specified message isn't in flight."),
    ("AWS.SimpleQueueService.MessageNotInflight", "The specified message isn't in flight."),
    (
        "InvalidParameterValue",
        f"{_INVALID}Message does not exist or is not available for visibility timeout change.",
    ),
    ("InvalidParameterValue", f"{_INVALID}The receipt handle has expired."),
)
"""Codes and messages of SQS for a stale receipt handle."""


class StaleHandles:
    """Ends leases when they are renewed, one for each error in `STALE`.

    The messages can be received again, and their old handles can't be used any more.
    """

    def __init__(self) -> None:
        self.errors: dict[str, tuple[str, str]] = {}
        """The error for each stale handle."""
        self.rejected: Counter[tuple[str, str]] = Counter()
        """Number of rejected entries by operation and code."""

    async def __call__(self, call: Call, forward: Forward) -> Answer:
        """Reject the entries of a batch whose handles are stale."""
        if call.operation not in {"sqs:ChangeMessageVisibilityBatch", "sqs:DeleteMessageBatch"}:
            return await forward(call)
        entries = [
            self._end_lease(entry) for entry in call.fields["Entries"] if entry["ReceiptHandle"] not in self.errors
        ]
        found: dict[str, list[dict[str, Any]]] = {"Successful": [], "Failed": []}
        if entries:
            found |= json.loads((await forward(call.with_fields(Entries=entries))).body)
        stale = {entry["Id"]: entry["ReceiptHandle"] for entry in call.fields["Entries"]}
        stale = {place: handle for place, handle in stale.items() if handle in self.errors}
        failed = [self._failure(call.operation, place, handle) for place, handle in stale.items()]
        kept = {name: [entry for entry in found[name] if entry["Id"] not in stale] for name in found}
        body = json.dumps({**kept, "Failed": kept["Failed"] + failed}).encode()
        return Answer(body=body, content_type="application/x-amz-json-1.0")

    def _end_lease(self, entry: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return an entry; if its handle becomes stale now, the entry makes its message visible."""
        if not entry.get("VisibilityTimeout") or len(self.errors) == len(STALE):
            return entry
        self.errors[entry["ReceiptHandle"]] = STALE[len(self.errors)]
        return {**entry, "VisibilityTimeout": 0}

    def _failure(self, operation: str, place: str, handle: str) -> dict[str, Any]:
        code, message = self.errors[handle]
        self.rejected[operation, code] += 1
        return {"Id": place, "Code": code, "Message": message, "SenderFault": True}


THROTTLES: Final[Mapping[str, Sequence[tuple[int, str]]]] = {
    "cloudformation": [(400, "Throttling")],
    "s3": [(503, "SlowDown"), (503, "ServiceUnavailable"), (500, "InternalError"), (400, "RequestTimeout")],
    "sqs": [
        (400, "ThrottlingException"),
        (403, "OverLimit"),
        (400, "RequestThrottled"),
        (403, "AWS.SimpleQueueService.RequestThrottled"),
        (403, "AWS.SimpleQueueService.OverLimit"),
        (400, "Throttling"),
        (400, "RequestThrottledException"),
        (400, "RequestLimitExceeded"),
        (503, "ServiceUnavailable"),
    ],
    "batch": [
        (429, "TooManyRequestsException"),
        (400, "ThrottlingException"),
        (400, "RequestLimitExceeded"),
        (500, "ServerException"),
    ],
}
"""Statuses and codes with which services throttle requests."""


class Throttles:
    """Throttles the first request of each operation, and SQS's third, with all errors of the service in turn."""

    def __init__(self) -> None:
        self.used: set[tuple[str, str]] = set()
        """Services and codes used so far."""
        self.rejected: Counter[str] = Counter()
        """Number of rejected requests by operation."""
        self._asked: Counter[str] = Counter()
        self._errors = {service: cycle(spellings) for service, spellings in THROTTLES.items()}

    async def __call__(self, call: Call, forward: Forward) -> Answer:
        """Throttle a request if it is its operation's first, or SQS's third."""
        self._asked[call.operation] += 1
        if self._asked[call.operation] in ({1, 3} if call.service == "sqs" else {1}):
            # An answer to HEAD has no body, so the client only sees its status.
            status, code = (503, "SlowDown") if call.request.method == "HEAD" else next(self._errors[call.service])
            self.used.add((call.service, code))
            self.rejected[call.operation] += 1
            raise ServiceError(code, "Please reduce your request rate.", status=status)
        return await forward(call)


class ExpiredTokens:
    """Rejects all requests while `expired` is true."""

    def __init__(self) -> None:
        self.expired = True

    async def __call__(self, call: Call, forward: Forward) -> Answer:
        """Reject a request with the error of its service."""
        if not self.expired:
            return await forward(call)
        code = "ExpiredTokenException" if call.service in {"sqs", "batch"} else "ExpiredToken"
        status = 400 if call.service == "s3" else 403
        raise ServiceError(code, "The security token included in the request is expired", status=status)


class Rejects:
    """Rejects requests for some operations."""

    def __init__(self, code: str, *operations: str, status: int = 403) -> None:
        self.rejected: Counter[str] = Counter()
        """Number of rejected requests by operation."""
        self._code = code
        self._operations = operations
        self._status = status

    async def __call__(self, call: Call, forward: Forward) -> Answer:
        """Reject a request for one of the operations."""
        if call.operation in self._operations:
            self.rejected[call.operation] += 1
            raise ServiceError(self._code, "not now", status=self._status)
        return await forward(call)

"""The embedded endpoint's HTTP server: all services run on one event loop, so that requests do not interleave."""

import hmac
import json
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, unquote

from aiohttp import web

from asyncbatch.emulator import batch, query, s3, sqs
from asyncbatch.emulator.faults import ServiceError
from asyncbatch.emulator.names import COUNTS_PATH
from asyncbatch.emulator.queues import QueueAttributes
from asyncbatch.emulator.requests import Answer, Request, Scope, name_operation, read_scope
from asyncbatch.emulator.shelf import Shelf
from asyncbatch.emulator.stack import ACCOUNT, make_outputs

_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})
_PORT: Final = re.compile(r":\d+$")
_BUFFER: Final = 2**20
_KEEP_ALIVE: Final = 24 * 3600.0
"""Seconds that an idle connection is kept, since closing one while a request arrives would cost a retry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """The configuration of an endpoint."""

    access_key: str = field(repr=False)
    """The access key that requests must use."""
    stack: str
    region: str


class Endpoint:
    """Handles requests with its access key.

    Parameters
    ----------
    setup : Setup
        Its configuration.
    url : str
        Its URL.
    clock : callable
        Returns the present time, in seconds since the epoch.
    """

    def __init__(self, setup: Setup, url: str, clock: Callable[[], float]) -> None:
        self._setup = setup
        self._counts: Counter[str] = Counter()
        shelf = Shelf(f"{url}/{ACCOUNT}", setup.region, clock)
        self._sqs = sqs.Sqs(shelf, clock)
        self._s3 = s3.S3(clock)
        bucket = f"{setup.stack.lower()}-batchbucket"
        self._s3.create(bucket)
        tasks, results = (
            shelf.create(f"{setup.stack}-{name}", QueueAttributes(), {}) for name in ("BatchInQueue", "BatchOutQueue")
        )
        outputs = make_outputs(setup.stack, setup.region, bucket=bucket, in_queue=tasks, out_queue=results)
        stack = query.Stack(name=setup.stack, region=setup.region, created=clock(), outputs=outputs)
        self._query = query.Query(stack)

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """Answer one HTTP request."""
        if not _is_for_loopback(request):
            return web.Response(status=403, text="This endpoint is for this machine only.\n")
        scope = read_scope(request.headers)
        if refusal := self._refuse(scope, request):
            return _make_response(refusal)
        assert scope is not None  # noqa: S101 - otherwise it was rejected
        await _invite_body(request)
        path, _, arguments = request.raw_path.partition("?")
        whole = Request(
            method=request.method,
            path=unquote(path),
            query=dict(parse_qsl(arguments, keep_blank_values=True)),
            headers=request.headers,
            scope=scope,
            body=await request.content.read() if request.body_exists else b"",
        )
        if whole.path == COUNTS_PATH:
            return _make_response(Answer(body=json.dumps(self._counts).encode(), content_type="application/json"))
        operation = name_operation(whole)
        self._counts[operation] += 1
        try:
            answer = await self._dispatch(whole, operation)
        except ServiceError as error:
            answer = _write_error(error, scope.service, request)
        except Exception as error:  # noqa: BLE001 - reported to the client, since there is no log
            fault = ServiceError("InternalFailure", f"{operation}: {type(error).__name__}: {error}", status=500)
            answer = _write_error(fault, scope.service, request)
        return _make_response(answer, request.method)

    async def _dispatch(self, request: Request, operation: str) -> Answer:
        service, _, name = operation.partition(":")
        if service == "s3":
            return self._s3.answer(request, name)
        if service == "sqs":
            return await self._sqs.answer(request)
        if service == "batch":
            return batch.answer(request)
        return self._query.answer(request, operation)

    def _refuse(self, scope: Scope | None, request: web.BaseRequest) -> Answer | None:
        """Return the rejection of a request without the endpoint's key; None if it has the key."""
        service = scope.service if scope else "s3"
        if scope is None:
            code, reason = "MissingAuthenticationToken", "Missing Authentication Token"
        elif hmac.compare_digest(scope.access_key.encode(), self._setup.access_key.encode()):
            return None
        else:
            code = "InvalidAccessKeyId" if service == "s3" else "InvalidClientTokenId"
            reason = "The access key is not that of this endpoint."
        return _write_error(ServiceError(code, reason, status=403), service, request)


async def serve(setup: Setup, *, kind: type[Endpoint] = Endpoint) -> str:
    """Serve on a free port of loopback for as long as the event loop runs; return the URL.

    Parameters
    ----------
    setup : Setup
        Settings of the endpoint.
    kind : type of Endpoint
        Class that answers requests. Benchmarks pass one with the latency of AWS.
    """
    offset = time.time() - time.monotonic()

    def tell_time() -> float:
        """Return the time since the epoch, which never decreases."""
        return offset + time.monotonic()

    endpoints: list[Endpoint] = []

    async def answer(request: web.BaseRequest) -> web.Response:
        return await endpoints[0].answer(request)

    server = web.Server(
        answer,
        handler_cancellation=True,  # a long poll ends when its client disconnects
        access_log=None,
        auto_decompress=False,  # store bodies as they were sent
        keepalive_timeout=_KEEP_ALIVE,
        read_bufsize=_BUFFER,
    )
    runner = web.ServerRunner(server)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    endpoints.append(kind(setup, url, tell_time))
    return url


def _is_for_loopback(request: web.BaseRequest) -> bool:
    """Return whether a request's host is this machine, since a web page could resolve its own host name to it."""
    hosts = request.headers.getall("Host", [])
    return len(hosts) == 1 and _PORT.sub("", hosts[0].lower()) in _LOOPBACK


async def _invite_body(request: web.BaseRequest) -> None:
    """Send "100 Continue" to a client that waits for it before it sends its body."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0


def _write_error(error: ServiceError, service: str, request: web.BaseRequest) -> Answer:
    """Format an error as its service does."""
    if service == "s3":
        return s3.write_error(error)
    if service == "sqs":
        return sqs.write_error(error)
    if service == "batch" or "X-Amz-Target" in request.headers:
        return batch.write_error(error)
    return query.write_error(error)


def _make_response(answer: Answer, method: str = "") -> web.Response:
    headers = {**answer.headers, "Content-Type": answer.content_type}
    if method == "HEAD":  # aiohttp sets it only for non-empty bodies
        headers["Content-Length"] = str(len(answer.body))
    return web.Response(status=answer.status, body=answer.body, headers=headers)

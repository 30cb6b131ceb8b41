"""An AWS account that moto emulates in a separate process, for tests that need more than the embedded endpoint.

    python moto_server.py

The first line of stdout is the URL. The process exits when stdin is closed.
"""

import json
import os
import sys
import threading
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

from aiohttp import hdrs
from moto.batch.models import BatchBackend, ComputeEnvironment, batch_backends
from moto.batch.utils import lowercase_first_key
from moto.moto_server.werkzeug_app import create_backend_app
from moto.sqs.models import Queue, SQSBackend
from multidict import CIMultiDict
from werkzeug.serving import WSGIRequestHandler, make_server

from asyncbatch.emulator.names import COUNTS_PATH
from asyncbatch.emulator.requests import Request, Scope, name_operation, read_scope

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment


_LINKED_ROLE: Final = "AWSServiceRoleForBatch"


class CountingApp:
    """Counts requests, and passes each to moto's application for its service."""

    def __init__(self) -> None:
        self._services: dict[str, WSGIApplication] = {}
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if environ["PATH_INFO"] == COUNTS_PATH:
            start_response("200 OK", [("Content-Type", "application/json")])
            return [json.dumps(self._counts).encode()]
        request = read_request(environ)
        service = request.scope.service
        with self._lock:
            self._counts[name_operation(request)] += 1
            if service not in self._services:
                self._services[service] = create_backend_app(service)  # type: ignore[arg-type]  # moto lists their names
        return self._services[service](environ, start_response)


def read_request(environ: "WSGIEnvironment") -> Request:
    """Return a request without its body, which moto reads itself."""
    headers: CIMultiDict[str] = CIMultiDict()
    for name, value in environ.items():
        if name.startswith("HTTP_"):
            headers[name.removeprefix("HTTP_").replace("_", "-")] = value
    return Request(
        method=environ["REQUEST_METHOD"],
        path=environ["PATH_INFO"],
        query=dict(parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True)),
        headers=headers,
        scope=read_scope({hdrs.AUTHORIZATION: headers.get(hdrs.AUTHORIZATION, "")})
        or Scope(access_key="", region="", service="unknown"),
    )


def keep_messages() -> None:
    """Make moto delete messages under the lock with which it adds them, since otherwise it loses some.

    Also skip its check of the retention period, which is slow and not needed: for each received message, moto computes
    all attributes of the queue from all of its messages.
    """
    setattr(SQSBackend, "is_message_valid_based_on_retention_period", lambda *_: True)  # noqa: B010 - mypy forbids plain assignment
    delete = Queue.delete_message

    def delete_locked(self: Any, receipt_handle: str) -> None:  # noqa: ANN401 - moto's class
        with self._messages_lock:
            delete(self, receipt_handle)

    setattr(Queue, "delete_message", delete_locked)  # noqa: B010 - as above


def use_service_linked_role() -> None:
    """Let moto create compute environments without a service role, for which AWS uses its service-linked role."""
    create: Any = BatchBackend.create_compute_environment

    def create_with_role(self: Any, *args: Any, service_role: str | None = None, **named: Any) -> Any:  # noqa: ANN401 - moto's
        iam = self.iam_backend
        roles = [role for role in iam.roles.values() if role.name == _LINKED_ROLE]
        role = roles[0] if roles else iam.create_role(_LINKED_ROLE, "{}", "/", None, "", [], "3600")
        return create(self, *args, service_role=service_role or role.arn, **named)

    def create_by_template(
        _: Any,  # noqa: ANN401 - moto's
        /,
        name: str,
        part: dict[str, Any],
        account: str,
        region: str,
        **_others: object,
    ) -> Any:  # noqa: ANN401 - moto's
        properties = part["Properties"]
        backend: Any = batch_backends[account][region]
        return backend.create_compute_environment(
            name, properties["Type"], properties["State"], lowercase_first_key(properties["ComputeResources"])
        )

    setattr(BatchBackend, "create_compute_environment", create_with_role)  # noqa: B010 - as above
    setattr(ComputeEnvironment, "create_from_cloudformation_json", classmethod(create_by_template))  # noqa: B010


class Quiet(WSGIRequestHandler):
    """Logs no requests."""

    def log_request(self, *_: object) -> None:
        """Do nothing."""


def main() -> None:
    """Serve until stdin is closed."""
    keep_messages()
    use_service_linked_role()
    server = make_server("127.0.0.1", 0, CountingApp(), threaded=True, request_handler=Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(f"http://127.0.0.1:{server.server_port}\n")
    sys.stdout.flush()
    sys.stdin.read()
    os._exit(0)  # threads of open requests would keep the process alive


if __name__ == "__main__":
    main()

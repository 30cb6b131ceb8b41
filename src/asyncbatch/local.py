"""The embedded AWS endpoint: an emulator on loopback, with a stack made from the template that ships.

It is the same wire: main and workers talk to it as they talk to AWS. The emulator (moto's server) is a process of its
own, so that its memory and its work are not main's. It ends when its stdin does, however main ends.
"""

import json
import os
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final
from urllib.request import ProxyHandler, build_opener

import anyio
from anyio.abc import Process
from anyio.streams.text import TextReceiveStream

from asyncbatch.aws.session import Credentials, open_session
from asyncbatch.aws.stacks import Stacks
from asyncbatch.errors import AwsError, SettingsError
from asyncbatch.settings import Settings
from asyncbatch.template import template

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

COUNTS_PATH: Final = "/_asyncbatch/requests"

_START_TIMEOUT: Final = 60.0
_THREADS: Final = 128  # each long poll under way holds one
_CREDENTIALS: Final = Credentials(access_key="local", secret_key="local")  # noqa: S106 - the emulator takes any
_SCOPE: Final = re.compile(r"Credential=[^/]+/\d+/[^/]+/([^/]+)/aws4_request")


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalEndpoint:
    """A running emulator with a stack."""

    settings: Settings
    """Those asked for, with the endpoint's URL."""
    credentials: Credentials

    def requests(self) -> dict[str, int]:
        """Return the requests that the endpoint has had so far, by ``service:Operation``."""
        # Its own opener, since a proxy of the environment does not reach loopback.
        with build_opener(ProxyHandler({})).open(f"{self.settings.endpoint_url}{COUNTS_PATH}", timeout=10) as answer:
            counts: dict[str, int] = json.load(answer)
        return counts


@asynccontextmanager
async def local_endpoint(settings: Settings) -> AsyncIterator[LocalEndpoint]:
    """Start an emulator and deploy the stack for the time of the block.

    Raises
    ------
    SettingsError
        If the emulator is not installed.
    AwsError
        If it does not come up.
    """
    if find_spec("moto") is None:
        raise SettingsError("local mode needs the emulator moto: pip install 'asyncbatch[local]'")
    variables = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    process = await anyio.open_process(
        [sys.executable, "-m", "asyncbatch.local"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=variables | _CREDENTIALS.environment(),
        start_new_session=True,  # Ctrl-C is for main, which still needs the endpoint to clean up
    )
    try:
        url = await _url(process)
        local = replace(settings, endpoint_url=url)
        async with open_session(region=local.region, endpoint_url=url, credentials=_CREDENTIALS) as session:
            await (await Stacks.open(session)).create(local.stack, template())
        yield LocalEndpoint(settings=local, credentials=_CREDENTIALS)
    finally:
        with anyio.CancelScope(shield=True):
            process.kill()
            await process.aclose()


async def _url(process: Process) -> str:
    """Return the URL that the emulator tells when it is ready."""
    told = ""
    with anyio.move_on_after(_START_TIMEOUT):
        async for text in TextReceiveStream(process.stdout):  # type: ignore[arg-type]  # a pipe
            told += text
            if told.endswith("\n"):
                return told.strip()
    process.kill()
    errors = [text async for text in TextReceiveStream(process.stderr)]  # type: ignore[arg-type]  # a pipe
    last = "".join(errors).strip().splitlines()[-1:]
    raise AwsError(f"the embedded AWS endpoint did not start: {last[0] if last else 'without a word'}")


class EndpointApp:
    """A WSGI application that counts AWS requests and hands each to the emulator of its service.

    Parameters
    ----------
    make : callable
        Makes the application that emulates a service, given its name.
    """

    def __init__(self, make: "Callable[[str], WSGIApplication]") -> None:
        self._make = make
        self._services: dict[str, WSGIApplication] = {}
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer one request."""
        if environ["PATH_INFO"] == COUNTS_PATH:
            body = json.dumps(self._counts).encode()
            start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
            return [body]
        asked = operation(environ)
        service = asked.partition(":")[0]
        with self._lock:
            self._counts[asked] += 1
            if service not in self._services:
                self._services[service] = self._make(service)
        return self._services[service](environ, start_response)


def operation(environ: "WSGIEnvironment") -> str:
    """Return the service and the operation that a request asks for, as ``service:Operation``."""
    scope = _SCOPE.search(environ.get("HTTP_AUTHORIZATION", ""))
    service = scope[1] if scope else "unknown"
    target = environ.get("HTTP_X_AMZ_TARGET", "")
    if target:
        return f"{service}:{target.rpartition('.')[2]}"
    method, query = environ["REQUEST_METHOD"], environ.get("QUERY_STRING", "")
    if service == "s3" and method == "POST" and query.startswith("delete"):
        return "s3:DeleteObjects"
    if service == "s3" and "list-type=2" in query:
        return "s3:ListObjectsV2"
    names = {"PUT": "PutObject", "GET": "GetObject", "HEAD": "HeadObject", "DELETE": "DeleteObject"}
    return f"{service}:{names.get(method, method) if service == 's3' else method}"


def main() -> None:
    """Serve on a free port of loopback until stdin ends; the first line on stdout is the URL."""
    from cheroot.wsgi import Server  # noqa: PLC0415 - only this process has these
    from moto.moto_server.werkzeug_app import create_backend_app  # noqa: PLC0415
    from moto.sqs.models import SQSBackend  # noqa: PLC0415

    # For each message received, moto computes all attributes of its queue from all messages in it. No message here
    # grows as old as SQS keeps them.
    setattr(SQSBackend, "is_message_valid_based_on_retention_period", lambda *_: True)  # noqa: B010 - mypy forbids plain assignment
    app = EndpointApp(create_backend_app)  # type: ignore[arg-type]  # moto lists the services' names
    server = Server(("127.0.0.1", 0), app, numthreads=_THREADS)
    server.prepare()
    threading.Thread(target=server.serve, daemon=True).start()
    sys.stdout.write(f"http://127.0.0.1:{server.bind_addr[1]}\n")
    sys.stdout.flush()
    sys.stdin.read()
    os._exit(0)  # each long poll under way would keep its thread, and so the process, for up to 20 s


if __name__ == "__main__":
    main()

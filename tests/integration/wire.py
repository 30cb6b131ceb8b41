"""A plain HTTP client of the embedded endpoint, fast enough for many requests per second."""

import http.client
import json
from contextlib import AbstractContextManager
from typing import Any, Final
from urllib.parse import urlsplit

from asyncbatch.emulator.names import write_scope
from asyncbatch.local import LocalEndpoint

_TIMEOUT: Final = 60.0


class Wire(AbstractContextManager["Wire"]):
    """A connection whose requests have the endpoint's access key and no signature."""

    def __init__(self, local: LocalEndpoint) -> None:
        target = urlsplit(str(local.settings.endpoint_url))
        self._connection = http.client.HTTPConnection(str(target.hostname), target.port, timeout=_TIMEOUT)
        self._access_key = local.credentials.access_key
        self._region = local.settings.region

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def headers(self, service: str) -> dict[str, str]:
        """Return the headers with the service and the access key."""
        return {"Authorization": write_scope(self._access_key, self._region, service)}

    def ask(
        self, method: str, path: str, *, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Send a request; return the status, the headers in lower case, and the body."""
        self._connection.request(method, path, body=body, headers=headers or {})
        answer = self._connection.getresponse()
        content = answer.read()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, content

    def sqs(self, operation: str, **fields: Any) -> Any:  # noqa: ANN401 - JSON
        """Call an operation of SQS and return its answer.

        Raises
        ------
        RuntimeError
            If the answer is an error.
        """
        named = {"X-Amz-Target": f"AmazonSQS.{operation}", "Content-Type": "application/x-amz-json-1.0"}
        body = json.dumps(fields).encode()
        status, _, content = self.ask("POST", "/", body=body, headers=self.headers("sqs") | named)
        if status != http.HTTPStatus.OK:
            raise RuntimeError(f"{operation}: {status} {content!r}")
        return json.loads(content) if content else {}

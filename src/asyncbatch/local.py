"""The embedded AWS endpoint: an emulator on loopback, with the stack that main and workers need.

Main and workers use it exactly as they use AWS. The emulator is a separate process, so that it does not use main's
memory and CPU time. It exits when main ends for any reason. It answers only requests that carry its access key, which
is random.
"""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Final
from urllib.request import ProxyHandler, Request, build_opener

import anyio
from anyio.abc import Process
from anyio.streams.text import TextReceiveStream

from asyncbatch.aws.session import Credentials
from asyncbatch.emulator.names import COUNTS_PATH, write_scope
from asyncbatch.errors import AwsError
from asyncbatch.settings import Settings

_START_TIMEOUT: Final = 60.0
_STOP_TIMEOUT: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalEndpoint:
    """A running emulator with a stack."""

    settings: Settings
    """The settings, with the endpoint's URL."""
    credentials: Credentials

    def requests(self) -> dict[str, int]:
        """Return the number of requests so far, by ``service:Operation``."""
        scope = write_scope(self.credentials.access_key, self.settings.region, "asyncbatch")
        asked = Request(f"{self.settings.endpoint_url}{COUNTS_PATH}", headers={"Authorization": scope})  # noqa: S310 - the embedded endpoint's URL
        # An opener without proxies, since a proxy does not reach loopback.
        with build_opener(ProxyHandler({})).open(asked, timeout=10) as answer:
            counts: dict[str, int] = json.load(answer)
        return counts


@asynccontextmanager
async def open_local_endpoint(
    settings: Settings, *, credentials: Credentials | None = None
) -> AsyncIterator[LocalEndpoint]:
    """Start an emulator with a stack, and stop it at the end of the block.

    Parameters
    ----------
    settings : Settings
        Settings with the names of the stack and its region.
    credentials : Credentials, optional
        Credentials that requests must use; by default random, so that no other user can use the endpoint.

    Raises
    ------
    AwsError
        If the emulator does not start.
    """
    chosen = credentials or Credentials(access_key=secrets.token_hex(16), secret_key=secrets.token_hex(16))
    process = await anyio.open_process(
        [sys.executable, "-m", "asyncbatch.emulator"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for main, which still needs the endpoint to clean up
    )
    try:
        setup = {
            "access_key": chosen.access_key,  # not on the command line, which all users can read
            "stack": settings.stack,
            "region": settings.region,
            "parent": os.getpid(),
        }
        url = await _start(process, json.dumps(setup))
        yield LocalEndpoint(settings=replace(settings, endpoint_url=url), credentials=chosen)
    finally:
        with anyio.CancelScope(shield=True):
            await _stop(process)


async def _stop(process: Process) -> None:
    """Stop the emulator."""
    with suppress(ProcessLookupError):  # it has already ended
        process.terminate()
        with anyio.move_on_after(_STOP_TIMEOUT) as waiting:
            await process.wait()
        if waiting.cancelled_caught:
            process.kill()
    await process.aclose()


async def _start(process: Process, setup: str) -> str:
    """Send the emulator its setup, and return the URL that it prints when it is ready."""
    written = ""
    with anyio.move_on_after(_START_TIMEOUT):
        with suppress(anyio.BrokenResourceError):  # it has ended; its stderr shows why
            await process.stdin.send(f"{setup}\n".encode())  # type: ignore[union-attr]  # a pipe
        async for text in TextReceiveStream(process.stdout):  # type: ignore[arg-type]  # a pipe
            written += text
            if written.endswith("\n"):
                return written.strip()
    with suppress(ProcessLookupError):
        process.kill()
    errors = [text async for text in TextReceiveStream(process.stderr)]  # type: ignore[arg-type]  # a pipe
    last = "".join(errors).strip().splitlines()[-1:]
    raise AwsError(f"the embedded AWS endpoint did not start: {last[0] if last else 'it printed nothing'}")

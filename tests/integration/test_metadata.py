"""Tests of a spot machine's interruption notice from a metadata service like EC2's."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from asyncbatch.aws.metadata import MachineMetadata
from asyncbatch.errors import EndpointUnreachable

pytestmark = pytest.mark.anyio


class Machine:
    """A metadata service that accepts each token twice."""

    def __init__(self) -> None:
        self.notice: str | None = None
        self.tokens: list[int] = []

    async def token(self, request: web.Request) -> web.Response:
        assert request.headers["X-aws-ec2-metadata-token-ttl-seconds"] == "21600"
        self.tokens.append(2)
        return web.Response(text=str(len(self.tokens) - 1))

    async def action(self, request: web.Request) -> web.Response:
        token = int(request.headers["X-aws-ec2-metadata-token"])
        if not self.tokens[token]:
            return web.Response(status=401)
        self.tokens[token] -= 1
        return web.Response(status=404) if self.notice is None else web.json_response(text=self.notice)


@asynccontextmanager
async def served(machine: Machine) -> AsyncIterator[MachineMetadata]:
    app = web.Application()
    app.router.add_put("/latest/api/token", machine.token)
    app.router.add_get("/latest/meta-data/spot/instance-action", machine.action)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    async with aiohttp.ClientSession() as http:
        yield MachineMetadata.open_at(http, f"http://127.0.0.1:{port}/")
    await runner.cleanup()


async def test_notice_is_found_after_a_token_has_expired() -> None:
    machine = Machine()
    async with served(machine) as metadata:
        assert [await metadata.is_reclaimed() for _ in range(3)] == [False] * 3
        machine.notice = '{"action": "terminate", "time": "2026-01-01T00:00:00Z"}'
        assert await metadata.is_reclaimed()
    assert len(machine.tokens) == 2


async def test_missing_metadata_service_is_reported() -> None:
    async with aiohttp.ClientSession() as http:
        with pytest.raises(EndpointUnreachable):
            await MachineMetadata.open_at(http, "http://127.0.0.1:1").is_reclaimed()

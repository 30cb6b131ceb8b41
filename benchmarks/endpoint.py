"""The embedded AWS endpoint with AWS-like latency. The benchmarks start it for each measurement.

The first line of stdin is a JSON object: ``setup`` has the fields of `Setup`, and ``latency`` the seconds of each
service. The first line of stdout is the URL. The process exits when stdin is closed.
"""

import asyncio
import json
import os
import random
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from aiohttp import web

from asyncbatch.emulator.names import COUNTS_PATH, write_scope
from asyncbatch.emulator.requests import read_scope
from asyncbatch.emulator.server import Endpoint, Setup, serve

REGION: Final = "us-east-1"
LATENCY: Final = {"s3": 0.030, "sqs": 0.012}
"""Mean duration of a request in seconds, as measured within a region. The standard deviation is a quarter of it."""


@contextmanager
def run_endpoint(latency: Mapping[str, float] = LATENCY) -> Iterator[dict[str, str]]:
    """Run an endpoint during the block; yield the environment variables for its clients."""
    key = secrets.token_hex(16)
    setup = {"access_key": key, "stack": "RIOS", "region": REGION}
    given = json.dumps({"setup": setup, "latency": dict(latency)})
    with subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018 - pipes
        process.stdin.write(f"{given}\n")
        process.stdin.flush()
        url = process.stdout.readline().strip()
        try:
            yield {
                "AWS_ENDPOINT_URL": url,
                "AWS_ACCESS_KEY_ID": key,
                "AWS_SECRET_ACCESS_KEY": key,
                "AWS_DEFAULT_REGION": REGION,
                "RIOS_AWSBATCH_REGION": REGION,
                "BENCH_COUNTS": f"{url}{COUNTS_PATH}",
                "BENCH_SCOPE": write_scope(key, REGION, "asyncbatch"),
            }
        finally:
            process.kill()


async def main() -> None:
    """Serve until stdin is closed."""
    given = json.loads(sys.stdin.readline())
    latency, chance = given["latency"], random.Random(0)  # noqa: S311 - no secret

    class SlowEndpoint(Endpoint):
        """Delays its answers as AWS would."""

        async def answer(self, request: web.BaseRequest) -> web.Response:
            scope = read_scope(request.headers)
            mean = latency.get(scope.service, 0.0) if scope else 0.0
            await asyncio.sleep(max(0.4 * mean, chance.gauss(mean, mean / 4)))
            if request.query_string == "location":  # only RIOS 1.4's workers call it
                return web.Response(text=f"<LocationConstraint>{REGION}</LocationConstraint>")
            return await super().answer(request)

    url = await serve(Setup(**given["setup"]), kind=SlowEndpoint)
    print(url, flush=True)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, lambda: os.read(sys.stdin.fileno(), 1) or ended.set())
    await ended.wait()


if __name__ == "__main__":
    asyncio.run(main())

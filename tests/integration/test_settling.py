"""Test that processes that have used obstore exit with the status of their script."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

SCRIPT = """
import asyncio
import obstore
from obstore.store import MemoryStore
import asyncbatch.aws.stores

async def main():
    store = MemoryStore()
    await asyncio.gather(*(obstore.put_async(store, f"key-{n}", bytes(1000)) for n in range(50)))

asyncio.run(main())
"""
"""Ends immediately after a request. Without `asyncbatch.aws.settling`, every fifth such process aborts."""


def test_script_that_ends_after_a_request_is_not_aborted() -> None:
    with ThreadPoolExecutor(8) as pool:
        ended = list(pool.map(lambda _: subprocess.run([sys.executable, "-c", SCRIPT], check=False), range(32)))
    assert [each.returncode for each in ended] == [0] * 32

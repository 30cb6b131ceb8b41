from contextlib import nullcontext
from functools import partial
from typing import Any

import anyio
import pytest

from asyncbatch.main.garbage import Garbage
from asyncbatch.main.uploads import LEAST, MOST, QUICK, Uploads
from asyncbatch.testing import VIRTUAL
from tests.unit.main.fakes import FakeObjects

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return VIRTUAL


def make_uploads() -> Uploads:
    objects = FakeObjects()
    return Uploads("run", objects=objects, garbage=Garbage(objects))


async def upload(uploads: Uploads, *seconds: float) -> list[float]:
    """Return the limit after each upload."""
    limits = []
    for each in seconds:
        with uploads.measure():
            await anyio.sleep(each)
        limits.append(uploads.limiter.total_tokens)
    return limits


async def test_more_uploads_are_allowed_while_each_is_quick() -> None:
    limits = await upload(make_uploads(), *[QUICK / 2] * MOST)
    assert limits[:3] == [LEAST + 1, LEAST + 2, LEAST + 3]
    assert limits[-1] == MOST


async def test_fewer_uploads_are_allowed_if_they_take_long() -> None:
    limits = await upload(make_uploads(), QUICK / 2, QUICK / 2, *[2 * QUICK] * 3)
    assert limits == [LEAST + 1, LEAST + 2, LEAST + 1, LEAST, LEAST]


async def test_failed_upload_does_not_count() -> None:
    uploads = make_uploads()
    with pytest.raises(OSError, match="reset"), uploads.measure():
        raise OSError("reset")
    assert uploads.limiter.total_tokens == LEAST


async def test_urgent_tiles_are_sent_before_others() -> None:
    uploads, sent = make_uploads(), list[str]()

    async def send(name: str, *, urgent: bool, seconds: float) -> None:
        with uploads.delay_others() if urgent else nullcontext():
            if not urgent:
                await uploads.wait_for_urgent()
            await anyio.sleep(seconds)
            sent.append(name)

    async with anyio.create_task_group() as group:
        group.start_soon(partial(send, "slow", urgent=True, seconds=5.0))
        group.start_soon(partial(send, "quick", urgent=True, seconds=1.0))
        await anyio.wait_all_tasks_blocked()
        group.start_soon(partial(send, "other", urgent=False, seconds=1.0))
        await anyio.sleep(2.0)
        group.start_soon(partial(send, "late", urgent=True, seconds=4.0))
    assert sent == ["quick", "slow", "late", "other"]
    await uploads.wait_for_urgent()


async def test_urgent_tile_that_fails_does_not_block_others() -> None:
    uploads = make_uploads()
    with pytest.raises(OSError, match="reset"), uploads.delay_others():
        raise OSError("reset")
    await uploads.wait_for_urgent()

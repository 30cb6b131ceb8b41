from typing import Any

import anyio
import pytest

from asyncbatch.main.uploads import LEAST, MOST, QUICK, Uploads
from tests.unit.virtual import VIRTUAL

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return VIRTUAL


async def upload(uploads: Uploads, *seconds: float) -> list[float]:
    """Return the limit after each upload."""
    limits = []
    for each in seconds:
        with uploads.measure():
            await anyio.sleep(each)
        limits.append(uploads.limiter.total_tokens)
    return limits


async def test_more_uploads_are_allowed_while_each_is_quick() -> None:
    limits = await upload(Uploads(), *[QUICK / 2] * MOST)
    assert limits[:3] == [LEAST + 1, LEAST + 2, LEAST + 3]
    assert limits[-1] == MOST


async def test_fewer_uploads_are_allowed_if_they_take_long() -> None:
    limits = await upload(Uploads(), QUICK / 2, QUICK / 2, *[2 * QUICK] * 3)
    assert limits == [LEAST + 1, LEAST + 2, LEAST + 1, LEAST, LEAST]


async def test_failed_upload_does_not_count() -> None:
    uploads = Uploads()
    with pytest.raises(OSError, match="reset"), uploads.measure():
        raise OSError("reset")
    assert uploads.limiter.total_tokens == LEAST

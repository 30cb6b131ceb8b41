import signal
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from asyncbatch.errors import EndpointUnreachable
from asyncbatch.worker import reclaim
from asyncbatch.worker.reclaim import is_announced, watch

pytestmark = pytest.mark.anyio


def answers(*reported: str) -> Callable[[], object]:
    """Return the metadata service's answers in sequence; an empty one means no answer."""
    left = list(reported)

    async def is_reclaimed() -> bool:
        await anyio.lowlevel.checkpoint()
        answer = left.pop(0)
        if not answer:
            raise EndpointUnreachable("nobody there")
        return answer == "yes"

    return is_reclaimed


async def test_a_notice_terminates_this_process() -> None:
    with anyio.open_signal_receiver(signal.SIGTERM) as signals:
        await watch(answers("no", "", "", "no", "", "yes"), interval=0)  # type: ignore[arg-type]  # a coroutine function
        with anyio.fail_after(5):
            assert await anext(aiter(signals)) is signal.SIGTERM


async def test_watch_ends_without_a_metadata_service() -> None:
    with anyio.fail_after(5):
        await watch(answers("", "no", "", "", ""), interval=0)  # type: ignore[arg-type]  # a coroutine function


@pytest.mark.parametrize(("answer", "announced"), [("yes", True), ("no", False), ("", False)])
async def test_notice_is_checked_once_before_a_worker_starts(answer: str, *, announced: bool) -> None:
    assert await is_announced(answers(answer)) is announced  # type: ignore[arg-type]  # a coroutine function


async def test_notice_can_be_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reclaim, "NOTICE_FILE", tmp_path / "spot-notice")
    assert not await is_announced(reclaim.is_noticed)
    (tmp_path / "spot-notice").touch()
    assert await is_announced(reclaim.is_noticed)

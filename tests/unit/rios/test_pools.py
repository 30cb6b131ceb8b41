import threading
from dataclasses import replace
from typing import Any

from asyncbatch import Settings
from tests.unit.rios.standins import Pool


def pool_options(**wanted: Any) -> Any:
    from asyncbatch.rios.options import PoolOptions

    return replace(PoolOptions(workers=2, launcher="subprocess", local=True, settings=Settings()), **wanted)


def pools(opened: list[Pool], **options: float) -> Any:
    from asyncbatch.rios.pools import Pools

    def open_one(wanted: Any) -> Pool:
        opened.append(Pool(wanted))
        return opened[-1]

    return Pools(open_one, **options)  # type: ignore[arg-type]


def test_equal_options_share_a_pool() -> None:
    opened: list[Pool] = []
    shared = pools(opened)
    assert shared.borrow(pool_options()) is shared.borrow(pool_options())
    shared.return_pool(pool_options(), failed=False)
    assert shared.borrow(pool_options()) is opened[0]
    assert len(opened) == 1


def test_only_idle_pools_are_closed_for_another() -> None:
    opened: list[Pool] = []
    shared = pools(opened)
    shared.borrow(pool_options())
    shared.borrow(pool_options(workers=3))
    assert [pool.ended for pool in opened] == [[], []]
    shared.return_pool(pool_options(), failed=False)
    shared.borrow(pool_options(settings=replace(Settings(), stack="other")))
    assert [pool.ended for pool in opened] == [[False], [], []]


def test_failed_pool_is_not_reused_and_ends_with_its_last_user() -> None:
    opened: list[Pool] = []
    shared = pools(opened)
    shared.borrow(pool_options())
    shared.borrow(pool_options())
    shared.return_pool(pool_options(), failed=True)
    assert opened[0].ended == []
    shared.return_pool(pool_options(), failed=False)
    assert opened[0].ended == [True]
    assert shared.borrow(pool_options()) is opened[1]


def test_unused_pool_ends() -> None:
    ended = threading.Event()

    class Watched(Pool):
        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as the base has it
            super().shutdown(wait, cancel_futures=cancel_futures)
            ended.set()

    from asyncbatch.rios.pools import Pools

    shared = Pools(Watched, kept=0.0)  # type: ignore[arg-type]
    shared.borrow(pool_options())
    shared.return_pool(pool_options(), failed=False)
    assert ended.wait(30)

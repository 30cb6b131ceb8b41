"""The adapter's own arithmetic, on a stand-in for what RIOS 1.4 calls it with; `tests/rios` has real RIOS."""

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from tests.unit.rios.standins import JobManager, Pool

if TYPE_CHECKING:
    from asyncbatch.rios.choice import Choice


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have just enough of RIOS 1.4 to import the adapter, and nothing of either afterwards."""
    before = {name for name in sys.modules if name.partition(".")[0] == "rios" or name.startswith("asyncbatch.rios")}
    for name in before:
        monkeypatch.delitem(sys.modules, name)
    for name in ("rios", "rios.parallel", "rios.parallel.jobmanager"):
        module = ModuleType(name)
        module.__path__ = []
        monkeypatch.setitem(sys.modules, name, module)
    vars(sys.modules["rios.parallel.jobmanager"])["JobManager"] = JobManager
    yield
    for name in [name for name in sys.modules if name.startswith("asyncbatch.rios")]:
        del sys.modules[name]


@pytest.fixture
def pools(monkeypatch: pytest.MonkeyPatch) -> list[Pool]:
    """Have the adapter open pools of threads; the list is of all it has opened."""
    from asyncbatch.rios import jobmanager
    from asyncbatch.rios.pools import Pools

    opened: list[Pool] = []

    def open_one(choice: "Choice") -> Pool:
        opened.append(Pool(choice))
        return opened[-1]

    monkeypatch.setattr(jobmanager, "POOLS", Pools(open_one))  # type: ignore[arg-type]
    return opened

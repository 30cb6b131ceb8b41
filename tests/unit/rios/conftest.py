"""Tests of the RIOS adapters with fakes of RIOS; `tests/rios` tests them with RIOS itself."""

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from tests.unit.rios.standins import Pool, make_rios_1

if TYPE_CHECKING:
    from asyncbatch.rios.options import PoolOptions


@pytest.fixture(autouse=True)
def fake_rios(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Install a fake RIOS to import its adapter, and remove both afterwards.

    It is RIOS 1.4, unless the fixture's parameter has other modules.
    """
    before = {name for name in sys.modules if name.partition(".")[0] == "rios" or name.startswith("asyncbatch.rios")}
    for name in before:
        monkeypatch.delitem(sys.modules, name)
    for name, content in getattr(request, "param", make_rios_1)().items():
        module = ModuleType(name)
        module.__path__ = []
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    yield
    for name in [name for name in sys.modules if name.startswith("asyncbatch.rios")]:
        del sys.modules[name]


@pytest.fixture
def pools(monkeypatch: pytest.MonkeyPatch) -> list[Pool]:
    """Make the adapter open pools of threads; return the list of opened pools."""
    from asyncbatch.rios import jobmanager
    from asyncbatch.rios.pools import Pools

    opened: list[Pool] = []

    def open_one(pool_options: "PoolOptions") -> Pool:
        opened.append(Pool(pool_options))
        return opened[-1]

    monkeypatch.setattr(jobmanager, "POOLS", Pools(open_one))  # type: ignore[arg-type]
    return opened

import getpass
import re

import pytest

from asyncbatch.main.run import fitted_to, user
from asyncbatch.settings import Settings

CLASSIC = {"BatchBucket": "b", "BatchInQueue": "in", "BatchOutQueue": "out"}


def test_on_a_classic_stack_its_own_queues_are_used_with_a_lease_that_lasts() -> None:
    assert fitted_to(Settings(), CLASSIC) == Settings(queues="stack", lease=900.0)
    assert fitted_to(Settings(lease=3600), CLASSIC) == Settings(queues="stack", lease=3600)


@pytest.mark.parametrize(
    ("settings", "outputs"),
    [
        (Settings(), CLASSIC | {"BatchLogGroup": "ours"}),
        (Settings(), {"BatchBucket": "b"}),
        (Settings(queues="stack", lease=60), CLASSIC),
    ],
)
def test_elsewhere_and_where_it_was_chosen_settings_stay(settings: Settings, outputs: dict[str, str]) -> None:
    assert fitted_to(settings, outputs) is settings


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("ab-c.d_1@x", "ab-c.d_1@x"),
        ("DOMAIN\\anna", "DOMAIN_anna"),
        ("J\u00f6rg; <b>", "J_rg_ _b_"),
        ("a" * 300, "a" * 256),
        ("", "unknown"),
    ],
)
def test_a_user_s_name_is_one_that_tags_may_have(monkeypatch: pytest.MonkeyPatch, name: str, tag: str) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: name)
    assert user() == tag
    assert re.fullmatch(r"[A-Za-z0-9 _.:/=+@-]{1,256}", tag)


def test_a_user_without_a_name_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> str:
        raise KeyError("getpwuid(): uid not found: 10001")

    monkeypatch.setattr(getpass, "getuser", fail)
    assert user() == "unknown"

import getpass
import re

import pytest

from asyncbatch.wire.tags import get_user_tag


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
def test_user_name_is_valid_for_tags(monkeypatch: pytest.MonkeyPatch, name: str, tag: str) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: name)
    assert get_user_tag() == tag
    assert re.fullmatch(r"[A-Za-z0-9 _.:/=+@-]{1,256}", tag)


def test_a_user_without_a_name_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> str:
        raise KeyError("getpwuid(): uid not found: 10001")

    monkeypatch.setattr(getpass, "getuser", fail)
    assert get_user_tag() == "unknown"

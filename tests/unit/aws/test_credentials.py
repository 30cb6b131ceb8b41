"""Tests of credentials that expire and are renewed elsewhere, in virtual time."""

import logging
from typing import Any

import anyio
import pytest
from aiobotocore.credentials import AioCredentials

from asyncbatch.aws.credentials import CredentialSource, RenewableCredentials
from asyncbatch.testing import VIRTUAL

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return VIRTUAL


class Login:
    """A source of credentials; each read returns the current ones."""

    def __init__(self, *, method: str = "shared-credentials-file") -> None:
        self.key = "first"
        self.method = method
        self.readings = 0

    async def load(self) -> AioCredentials | None:
        self.readings += 1
        return AioCredentials(self.key, "secret", method=self.method) if self.key else None


async def opened(login: Login) -> RenewableCredentials:
    found = await CredentialSource(login.load).load_credentials()
    assert found is not None
    return found


async def read_key(credentials: RenewableCredentials) -> str:
    return str((await credentials.get_frozen_credentials()).access_key)


def list_actions(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.action for record in caplog.records]  # type: ignore[attr-defined]


async def test_rejected_credentials_are_read_again_and_valid_ones_are_not() -> None:
    login = Login()
    credentials = await opened(login)
    assert [await read_key(credentials), await read_key(credentials), login.readings] == ["first", "first", 1]
    credentials.note_success(0)
    login.key = "second"
    credentials.note_refusal(0, "ExpiredToken")
    assert await read_key(credentials) == "second"


async def test_many_rejections_cause_one_pause_and_one_read_per_second(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="asyncbatch")
    login = Login()
    credentials = await opened(login)
    credentials.note_success(0)
    for _ in range(100):
        credentials.note_refusal(credentials.refusals, "ExpiredToken")
        await read_key(credentials)
        await anyio.sleep(0.1)
    assert login.readings <= 12
    assert credentials.paused
    credentials.note_success(credentials.refusals)
    assert list_actions(caplog) == ["credentials_expired", "credentials_renewed"]


async def test_answers_to_requests_with_earlier_credentials_are_ignored(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="asyncbatch")
    credentials = await opened(Login())
    credentials.note_success(0)
    credentials.note_refusal(0, "ExpiredToken")
    credentials.note_success(0)
    assert credentials.paused
    credentials.note_success(1)
    credentials.note_refusal(0, "ExpiredToken")
    assert not credentials.paused


async def test_last_credentials_are_used_while_none_are_found() -> None:
    login = Login()
    credentials = await opened(login)
    login.key = ""
    credentials.note_refusal(0, "ExpiredToken")
    assert await read_key(credentials) == "first"


async def test_credentials_that_were_never_accepted_cause_no_pause(caplog: pytest.LogCaptureFixture) -> None:
    credentials = await opened(Login())
    credentials.note_refusal(0, "InvalidClientTokenId")
    assert (credentials.accepted, credentials.paused, caplog.records) == (False, False, [])


@pytest.mark.parametrize(("method", "renewable"), [("env", False), ("sso", True), ("explicit", False)])
async def test_credentials_from_the_environment_are_not_read_again(method: str, *, renewable: bool) -> None:
    assert (await opened(Login(method=method))).renewable is renewable


async def test_a_session_without_credentials_has_none() -> None:
    login = Login()
    login.key = ""
    assert await CredentialSource(login.load).load_credentials() is None

"""Tests of outages during a run, and of credentials that are rejected for a while."""

import time
from pathlib import Path

import pytest

from asyncbatch import BatchExecutor
from asyncbatch.errors import CredentialsMissing
from tests.integration.endpoint import Endpoint
from tests.integration.eventually import eventually
from tests.integration.proxy import Proxy
from tests.integration.team import Team


def slowly(tile: int) -> bytes:
    time.sleep(0.02)
    return bytes([tile]) + b"0123456789" * (10_000 if tile % 5 == 0 else 1)  # large enough for S3


def test_run_survives_an_outage(endpoint: Endpoint, team: Team, proxy: Proxy, caplog: pytest.LogCaptureFixture) -> None:
    with BatchExecutor(2, launcher=team.launcher(), settings=endpoint.settings(endpoint_url=proxy.url)) as pool:
        results = pool.map(slowly, range(150))
        found = [next(results) for _ in range(20)]
        with proxy.outage():
            eventually(lambda: "receive failed" in caplog.text and team.wrote("receive_failed"))
        found += results
    assert found == [slowly(tile) for tile in range(150)]
    assert not endpoint.leftovers()


def write_key(file: Path, key: str) -> None:
    file.write_text(f"[default]\naws_access_key_id = {key}\naws_secret_access_key = tests\n")


@pytest.fixture
def credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the only file with credentials."""
    file = tmp_path / "credentials"
    write_key(file, "tests")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    return file


def test_run_pauses_while_credentials_are_rejected_and_continues_with_new_ones(
    endpoint: Endpoint, team: Team, proxy: Proxy, caplog: pytest.LogCaptureFixture, credentials: Path
) -> None:
    def count(action: str) -> int:
        return sum(getattr(record, "action", "") == action for record in caplog.records)

    with BatchExecutor(2, launcher=team.launcher(), settings=endpoint.settings(endpoint_url=proxy.url)) as pool:
        results = pool.map(slowly, range(150))
        found = [next(results) for _ in range(20)]
        proxy.rewrites[b"Credential=tests/"] = b"Credential=ended/"
        proxy.rewrites[b"Credential=fresh/"] = b"Credential=tests/"
        eventually(lambda: count("credentials_expired"))
        write_key(credentials, "fresh")
        found += results
        assert found == [slowly(tile) for tile in range(150)]
        assert (count("credentials_expired"), count("credentials_renewed")) == (1, 1)
    assert not endpoint.leftovers()


def test_credentials_that_were_never_accepted_end_the_run(
    endpoint: Endpoint, team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    with (
        pytest.raises(CredentialsMissing),
        BatchExecutor(1, launcher=team.launcher(), settings=endpoint.settings()) as pool,
    ):
        pool.submit(abs, -1).result()

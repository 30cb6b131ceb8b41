from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from asyncbatch import errors
from asyncbatch.aws.retries import RENEWAL, RetryPolicy, call_with_retries

BORNE = RetryPolicy(outage=60.0)

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the durations of sleeps, which return immediately."""
    seconds: list[float] = []

    async def sleep(delay: float) -> None:
        seconds.append(delay)

    monkeypatch.setattr("asyncio.sleep", sleep)
    return seconds


class Script:
    """A call that fails as scripted and then succeeds. It counts its calls."""

    def __init__(self, failures: Sequence[Exception]) -> None:
        self.failures = list(failures)
        self.calls = 0

    async def __call__(self) -> str:
        self.calls += 1
        if self.failures:
            raise self.failures.pop(0)
        return "done"


async def test_successful_call_is_made_once() -> None:
    script = Script([])
    assert await call_with_retries(script, BORNE) == "done"
    assert script.calls == 1


@pytest.mark.parametrize("kind", [errors.AwsBusy, errors.EndpointUnreachable])
async def test_call_is_retried_during_an_outage(kind: type[Exception], waits: list[float]) -> None:
    script = Script([kind()] * 20)
    assert await call_with_retries(script, BORNE) == "done"
    assert script.calls == 21
    assert waits[0] < 2.0, "a short outage causes a short delay"
    assert all(3.0 < wait < 8.0 for wait in waits[10:]), (
        "a long outage causes few requests, and its end is noticed soon"
    )
    assert len(set(waits)) == len(waits), "workers do not retry at the same time"


@pytest.mark.parametrize("kind", [errors.AwsBusy, errors.EndpointUnreachable])
async def test_retries_end_after_the_longest_outage(kind: type[Exception]) -> None:
    script = Script([kind("first"), kind("second")])
    with pytest.raises(kind, match="first"):
        await call_with_retries(script, RetryPolicy(outage=0))
    assert script.calls == 1


async def test_damaged_body_is_fetched_four_times() -> None:
    script = Script([errors.BlobCorrupt()] * 3)
    assert await call_with_retries(script, BORNE) == "done"
    assert script.calls == 4


async def test_body_that_is_always_damaged_is_an_error() -> None:
    script = Script([errors.BlobCorrupt(str(place)) for place in range(9)])
    with pytest.raises(errors.BlobCorrupt, match="3"):
        await call_with_retries(script, BORNE)
    assert script.calls == 4


async def test_outage_between_damaged_bodies_is_retried() -> None:
    script = Script([errors.BlobCorrupt(), errors.AwsBusy(), errors.BlobCorrupt(), errors.EndpointUnreachable()])
    assert await call_with_retries(script, BORNE) == "done"
    assert script.calls == 5


@pytest.mark.parametrize(
    "error",
    [
        errors.AwsError("other"),
        errors.AccessDenied(),
        errors.CredentialsMissing(),
        errors.BlobMissing(),
        errors.QueueGone(),
        errors.HandleStale(),
        errors.StackNotFound(),
        ValueError(),
    ],
    ids=repr,
)
async def test_permanent_errors_are_not_retried(error: Exception) -> None:
    script = Script([error])
    with pytest.raises(type(error)) as caught:
        await call_with_retries(script, BORNE)
    assert caught.value is error
    assert script.calls == 1


@dataclass(kw_only=True)
class Login:
    """The state of credentials."""

    accepted: bool
    renewable: bool = True
    paused: bool = True


@pytest.mark.parametrize("renewable", [True, False])
async def test_call_with_expired_credentials_is_retried_if_they_were_accepted_before(*, renewable: bool) -> None:
    login = Login(accepted=True, renewable=renewable)
    script = Script([errors.CredentialsMissing()] * 20)
    assert await call_with_retries(script, RetryPolicy(outage=60.0, standing=lambda: login)) == "done"


async def test_call_with_credentials_that_were_never_accepted_is_not_retried() -> None:
    script = Script([errors.CredentialsMissing()])
    with pytest.raises(errors.CredentialsMissing):
        await call_with_retries(script, RetryPolicy(outage=60.0, standing=lambda: Login(accepted=False)))
    assert script.calls == 1


@pytest.mark.parametrize(("renewable", "limit"), [(True, RENEWAL), (False, 60.0)])
def test_login_is_awaited_longer_than_an_outage(*, renewable: bool, limit: float) -> None:
    login = Login(accepted=True, renewable=renewable)
    assert RetryPolicy(outage=60.0, standing=lambda: login).limit(errors.CredentialsMissing()) == limit

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from asyncbatch import errors
from asyncbatch.aws.retries import RENEWAL, RetryPolicy, call_with_retries

BORNE = RetryPolicy(outage=60.0)

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the seconds that would have been waited: nothing waits."""
    seconds: list[float] = []

    async def sleep(delay: float) -> None:
        seconds.append(delay)

    monkeypatch.setattr("asyncio.sleep", sleep)
    return seconds


class Script:
    """Fails as scripted, then succeeds; counts its calls."""

    def __init__(self, failures: Sequence[Exception]) -> None:
        self.failures = list(failures)
        self.calls = 0

    async def __call__(self) -> str:
        self.calls += 1
        if self.failures:
            raise self.failures.pop(0)
        return "done"


async def test_what_succeeds_is_called_once() -> None:
    script = Script([])
    assert await call_with_retries(script, BORNE) == "done"
    assert script.calls == 1


@pytest.mark.parametrize("kind", [errors.AwsBusy, errors.EndpointUnreachable])
async def test_an_outage_is_endured(kind: type[Exception], waits: list[float]) -> None:
    script = Script([kind()] * 20)
    assert await call_with_retries(script, BORNE) == "done"
    assert script.calls == 21
    assert waits[0] < 2.0, "what is soon over costs little"
    assert all(3.0 < wait < 8.0 for wait in waits[10:]), "what lasts is asked for rarely, but its end is seen soon"
    assert len(set(waits)) == len(waits), "workers do not ask all at once"


@pytest.mark.parametrize("kind", [errors.AwsBusy, errors.EndpointUnreachable])
async def test_patience_ends(kind: type[Exception]) -> None:
    script = Script([kind("first"), kind("second")])
    with pytest.raises(kind, match="first"):
        await call_with_retries(script, RetryPolicy(outage=0))
    assert script.calls == 1


async def test_a_damaged_body_is_fetched_four_times() -> None:
    script = Script([errors.BlobCorrupt()] * 3)
    assert await call_with_retries(script, BORNE) == "done"
    assert script.calls == 4


async def test_a_body_that_stays_damaged_is_given_up() -> None:
    script = Script([errors.BlobCorrupt(str(place)) for place in range(9)])
    with pytest.raises(errors.BlobCorrupt, match="3"):
        await call_with_retries(script, BORNE)
    assert script.calls == 4


async def test_an_outage_amid_damages_is_endured() -> None:
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
async def test_what_will_not_get_better_is_not_repeated(error: Exception) -> None:
    script = Script([error])
    with pytest.raises(type(error)) as caught:
        await call_with_retries(script, BORNE)
    assert caught.value is error
    assert script.calls == 1


@dataclass(kw_only=True)
class Login:
    """How credentials have fared."""

    accepted: bool
    renewable: bool = True
    paused: bool = True


@pytest.mark.parametrize("renewable", [True, False])
async def test_a_call_whose_credentials_have_ended_is_repeated_once_aws_has_ever_taken_them(*, renewable: bool) -> None:
    login = Login(accepted=True, renewable=renewable)
    script = Script([errors.CredentialsMissing()] * 20)
    assert await call_with_retries(script, RetryPolicy(outage=60.0, standing=lambda: login)) == "done"


async def test_credentials_that_aws_never_took_fail_at_once() -> None:
    script = Script([errors.CredentialsMissing()])
    with pytest.raises(errors.CredentialsMissing):
        await call_with_retries(script, RetryPolicy(outage=60.0, standing=lambda: Login(accepted=False)))
    assert script.calls == 1


@pytest.mark.parametrize(("renewable", "limit"), [(True, RENEWAL), (False, 60.0)])
def test_a_login_is_waited_for_longer_than_an_outage(*, renewable: bool, limit: float) -> None:
    login = Login(accepted=True, renewable=renewable)
    assert RetryPolicy(outage=60.0, standing=lambda: login).limit(errors.CredentialsMissing()) == limit

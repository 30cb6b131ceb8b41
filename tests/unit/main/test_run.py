import pytest

from asyncbatch.main.run import fit_settings
from asyncbatch.settings import Settings

CLASSIC = {"BatchBucket": "b", "BatchInQueue": "in", "BatchOutQueue": "out"}


def test_classic_stack_uses_its_own_queues_with_a_long_lease() -> None:
    assert fit_settings(Settings(), CLASSIC) == Settings(queues="stack", lease=900.0)
    assert fit_settings(Settings(lease=3600), CLASSIC) == Settings(queues="stack", lease=3600)


@pytest.mark.parametrize(
    ("settings", "outputs"),
    [
        (Settings(), CLASSIC | {"BatchLogGroup": "ours"}),
        (Settings(), {"BatchBucket": "b"}),
        (Settings(queues="stack", lease=60), CLASSIC),
    ],
)
def test_other_stacks_and_explicit_settings_are_unchanged(settings: Settings, outputs: dict[str, str]) -> None:
    assert fit_settings(settings, outputs) is settings

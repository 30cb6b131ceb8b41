import pytest

from asyncbatch.main.run import fit_settings
from asyncbatch.settings import Settings

CLASSIC = {"BatchBucket": "b", "BatchInQueue": "in", "BatchOutQueue": "out"}


def test_on_a_classic_stack_its_own_queues_are_used_with_a_lease_that_lasts() -> None:
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
def test_elsewhere_and_where_it_was_chosen_settings_stay(settings: Settings, outputs: dict[str, str]) -> None:
    assert fit_settings(settings, outputs) is settings

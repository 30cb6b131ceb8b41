from typing import Any

import pytest

from asyncbatch.errors import SettingsError


def read(**environment: str) -> Any:
    from asyncbatch.rios.options import PoolOptions

    return PoolOptions.read(workers=5, environment=environment)


def test_default_is_the_number_of_the_script_on_batch() -> None:
    chosen = read()
    assert (chosen.workers, chosen.launcher, chosen.local) == (5, "batch", False)


def test_variables_of_the_environment_take_precedence() -> None:
    assert read(ASYNCBATCH_WORKERS="8").workers == 8
    assert read(ASYNCBATCH_LAUNCHER="subprocess").launcher == "subprocess"
    local = read(ASYNCBATCH_LOCAL="1", RIOS_AWSBATCH_STACK="mine")
    assert (local.launcher, local.local, local.settings.stack) == ("subprocess", True, "mine")
    assert not read(ASYNCBATCH_LOCAL="0").local


@pytest.mark.parametrize(
    "environment",
    [
        {"ASYNCBATCH_WORKERS": "0"},
        {"ASYNCBATCH_WORKERS": "many"},
        {"ASYNCBATCH_WORKERS": "2.5"},
        {"ASYNCBATCH_LAUNCHER": "slurm"},
        {"ASYNCBATCH_LOCAL": "yes"},
        {"ASYNCBATCH_LOCAL": "1", "ASYNCBATCH_LAUNCHER": "batch"},
        {"RIOS_NOMSG_TIMEOUT": "soon"},
    ],
)
def test_invalid_option_is_named_with_its_value(environment: dict[str, str]) -> None:
    with pytest.raises(SettingsError) as caught:
        read(**environment)
    for name, value in environment.items():
        assert name in str(caught.value)
        assert value in str(caught.value)

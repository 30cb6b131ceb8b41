import dataclasses
import re

import pytest

from asyncbatch import Settings
from asyncbatch.errors import SettingsError
from asyncbatch.wire.environment import WorkerEnvironment

VARIABLES: dict[str, tuple[str, str, object]] = {
    "stack": ("RIOS_AWSBATCH_STACK", "mine", "mine"),
    "region": ("RIOS_AWSBATCH_REGION", "us-west-2", "us-west-2"),
    "endpoint_url": ("AWS_ENDPOINT_URL", "http://127.0.0.1:5000", "http://127.0.0.1:5000"),
    "lease": ("ASYNCBATCH_LEASE", "12.5", 12.5),
    "run_lease": ("ASYNCBATCH_RUN_LEASE", "60", 60.0),
    "idle_timeout": ("RIOS_NOMSG_TIMEOUT", "90", 90.0),
    "start_timeout": ("ASYNCBATCH_START_TIMEOUT", "1e3", 1000.0),
    "outage": ("ASYNCBATCH_OUTAGE", "90", 90.0),
    "max_attempts": ("ASYNCBATCH_MAX_ATTEMPTS", "3", 3),
    "tile_timeout": ("ASYNCBATCH_TILE_TIMEOUT", "90", 90.0),
    "slot_memory": ("ASYNCBATCH_SLOT_MEMORY", "2000", 2000),
    "max_in_flight": ("ASYNCBATCH_MAX_IN_FLIGHT", "100", 100),
    "speculation": ("ASYNCBATCH_SPECULATION", "off", False),
    "queues": ("ASYNCBATCH_QUEUES", "stack", "stack"),
}

RANGES = {
    "lease": (2, 43_200),
    "run_lease": (2, 86_400),
    "idle_timeout": (1, 86_400),
    "start_timeout": (1, 86_400),
    "outage": (1, 604_800),
    "max_attempts": (1, 1_000),
    "tile_timeout": (0.1, 41_400),
    "slot_memory": (16, 16_777_216),
    "max_in_flight": (1, 100_000),
}


def test_defaults_are_those_of_the_classic_system() -> None:
    settings = Settings.from_environment({})
    assert settings == Settings()
    assert (settings.stack, settings.region) == ("RIOS", "ap-southeast-2")
    assert (settings.endpoint_url, settings.start_timeout, settings.max_in_flight) == (None, None, None)


def test_every_setting_has_a_variable() -> None:
    assert set(VARIABLES) == {field.name for field in dataclasses.fields(Settings)}


@pytest.mark.parametrize(("name", "variable", "text", "value"), [(name, *rest) for name, rest in VARIABLES.items()])
def test_a_setting_is_read_from_its_variable(name: str, variable: str, text: str, value: object) -> None:
    settings = Settings.from_environment({variable: text, "UNRELATED": "1"})
    assert settings == dataclasses.replace(Settings(), **{name: value})  # type: ignore[arg-type]  # by name
    assert type(getattr(settings, name)) is type(value)


def test_default_environment_is_that_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIOS_AWSBATCH_STACK", "mine")
    assert Settings.from_environment().stack == "mine"
    assert Settings.from_environment({}).stack == "RIOS"


@pytest.mark.parametrize(
    ("variables", "region"),
    [
        ({"RIOS_AWSBATCH_REGION": "a", "AWS_REGION": "b", "AWS_DEFAULT_REGION": "c"}, "a"),
        ({"RIOS_AWSBATCH_REGION": "", "AWS_REGION": "b", "AWS_DEFAULT_REGION": "c"}, "b"),
        ({"AWS_REGION": "", "AWS_DEFAULT_REGION": "c"}, "c"),
        ({}, "ap-southeast-2"),
    ],
)
def test_main_and_worker_find_the_same_region(variables: dict[str, str], region: str) -> None:
    assert Settings.from_environment(variables).region == region
    worker = WorkerEnvironment.read(variables | {"ASYNCBATCH_RUN": "r", "RIOSBucket": "b", "ASYNCBATCH_WORKER": "0"})
    assert worker.region == region


def test_override_takes_precedence_over_the_environment() -> None:
    environment = {"RIOS_AWSBATCH_STACK": "theirs", "ASYNCBATCH_LEASE": "10"}
    settings = Settings.from_environment(environment, stack="mine", lease=None)
    assert (settings.stack, settings.lease) == ("mine", 10.0)


@pytest.mark.parametrize("variable", [variable for variable, _, _ in VARIABLES.values()])
def test_an_empty_variable_counts_as_not_set(variable: str) -> None:
    assert Settings.from_environment({variable: ""}) == Settings()


@pytest.mark.parametrize(("name", "least", "most"), [(name, *ends) for name, ends in RANGES.items()])
def test_values_within_the_range_are_accepted(name: str, least: int, most: int) -> None:
    variable = VARIABLES[name][0]
    for value in (least, most):
        assert getattr(Settings.from_environment({variable: str(value)}), name) == value
    for value in (least - 1, most + 1, -least):
        reported = rf"{name} \({variable}\) is {value}(\.0)?; it must be from {least} to {most}"
        with pytest.raises(SettingsError, match=reported):
            Settings.from_environment({variable: str(value)})
        with pytest.raises(SettingsError, match=reported):
            Settings.from_environment({}, **{name: value})


@pytest.mark.parametrize("name", RANGES)
@pytest.mark.parametrize("text", ["soon", "nan", "1,5", "0x10", "3 s"])
def test_an_invalid_number_is_reported_with_its_variable(name: str, text: str) -> None:
    variable = VARIABLES[name][0]
    with pytest.raises(SettingsError, match=f"^{variable} is {re.escape(repr(text))}; it must be a number$"):
        Settings.from_environment({variable: text})


@pytest.mark.parametrize("name", ["max_attempts", "slot_memory", "max_in_flight"])
def test_count_must_be_an_integer(name: str) -> None:
    with pytest.raises(SettingsError, match="must be a number"):
        Settings.from_environment({VARIABLES[name][0]: "2.5"})


@pytest.mark.parametrize("name", RANGES)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_not_finite_are_rejected(name: str, value: float) -> None:
    with pytest.raises(SettingsError, match=f"{name} .* is {value}"):
        dataclasses.replace(Settings(), **{name: value})  # type: ignore[arg-type]  # by name


@pytest.mark.parametrize(
    ("name", "value", "reported"),
    [
        ("lease", "30", "a number"),
        ("lease", True, "a number"),
        ("max_in_flight", 2.5, "a number"),
        ("stack", "", "a non-empty string"),
        ("region", "", "a non-empty string"),
        ("region", 5, "a non-empty string"),
        ("endpoint_url", 5, "like http://"),
        ("queues", [], "'run' or 'stack'"),
    ],
)
def test_a_value_of_another_type_is_reported(name: str, value: object, reported: str) -> None:
    shown = re.escape(f"{name} ({VARIABLES[name][0]}) is {value!r}; it must be {reported}")
    with pytest.raises(SettingsError, match=f"^{shown}"):
        Settings.from_environment({}, **{name: value})


@pytest.mark.parametrize(("text", "value"), [("1", True), ("On", True), ("true", True), ("0", False), ("FALSE", False)])
def test_a_switch_is_on_or_off(text: str, value: bool) -> None:  # noqa: FBT001 - the value of a setting
    assert Settings.from_environment({"ASYNCBATCH_SPECULATION": text}).speculation is value


def test_switch_with_another_value_is_rejected() -> None:
    with pytest.raises(SettingsError, match="ASYNCBATCH_SPECULATION is 'maybe'"):
        Settings.from_environment({"ASYNCBATCH_SPECULATION": "maybe"})
    with pytest.raises(SettingsError, match="speculation is 'off'"):
        Settings(speculation="off")  # type: ignore[arg-type]  # the mistake


def test_queues_are_the_run_s_or_the_stack_s() -> None:
    with pytest.raises(SettingsError, match=r"queues \(ASYNCBATCH_QUEUES\) is 'mine'; it must be 'run' or 'stack'"):
        Settings.from_environment({"ASYNCBATCH_QUEUES": "mine"})


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:5000",
        "localhost",
        "ftp://host",
        "http.example.org",
        "http://",
        "http://bad host",
        "http://127.0.0.1:99999",
    ],
)
def test_endpoint_must_be_a_url(url: str) -> None:
    with pytest.raises(SettingsError, match=rf"AWS_ENDPOINT_URL\) is '{re.escape(url)}'; it must be like http://"):
        Settings.from_environment({"AWS_ENDPOINT_URL": url})


def test_unknown_setting_is_reported_with_existing_ones() -> None:
    with pytest.raises(SettingsError, match=r"leese=1.*did you mean 'lease'.*max_in_flight"):
        Settings.from_environment({}, leese=1)


def test_invalid_setting_raises_value_error() -> None:
    with pytest.raises(ValueError, match=r"lease .* is 1; it must be from 2"):
        Settings(lease=1)


def test_settings_are_immutable() -> None:
    field = "stack"
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(Settings(), field, "other")

import pytest

from asyncbatch.errors import SettingsError
from asyncbatch.wire.environment import Assignment, WorkerEnvironment

LEAST = {"ASYNCBATCH_RUN": "r1", "RIOSBucket": "bucket"}
JOB = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9:12"


def test_required_variables_of_a_worker() -> None:
    assert WorkerEnvironment.read(LEAST) == WorkerEnvironment(
        run="r1",
        token="",
        bucket="bucket",
        worker=":0",
        slots=1,
        region="ap-southeast-2",
        endpoint_url=None,
        idle_timeout=None,
        lifeline="",
        run_folder="",
        log_stream="",
        metadata_url="",
    )


def test_all_variables_of_a_worker() -> None:
    reported = {
        "ASYNCBATCH_KEY": "ab" * 32,
        "ASYNCBATCH_WORKER": "3",
        "ASYNCBATCH_SLOTS": "4",
        "ASYNCBATCH_LIFELINE": "17:4711",
        "ASYNCBATCH_FOLDER": "/tmp/asyncbatch-1",  # noqa: S108 - a name only
        "RIOS_AWSBATCH_REGION": "us-west-2",
        "RIOS_NOMSG_TIMEOUT": "90",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:5000",
    }
    assert WorkerEnvironment.read(LEAST | reported) == WorkerEnvironment(
        run="r1",
        token="ab" * 32,
        bucket="bucket",
        worker="3",
        slots=4,
        region="us-west-2",
        endpoint_url="http://127.0.0.1:5000",
        idle_timeout=90.0,
        lifeline="17:4711",
        run_folder="/tmp/asyncbatch-1",  # noqa: S108 - a name only
        log_stream="",
        metadata_url="",
    )


def test_job_that_batch_restarts_is_another_worker() -> None:
    ids = [WorkerEnvironment.read(LEAST | {"AWS_BATCH_JOB_ID": JOB, "AWS_BATCH_JOB_ATTEMPT": n}).worker for n in "12"]
    assert ids == ["0a1b2c3d:12", "0a1b2c3d:12.2"]


def test_a_batch_job_is_identified_by_its_id() -> None:
    found = WorkerEnvironment.read(LEAST | {"AWS_BATCH_JOB_ID": JOB})
    assert (found.worker, found.log_stream) == ("0a1b2c3d:12", JOB)


@pytest.mark.parametrize(
    ("regions", "region"),
    [
        ({"RIOS_AWSBATCH_REGION": "a", "AWS_REGION": "b", "AWS_DEFAULT_REGION": "c"}, "a"),
        ({"RIOS_AWSBATCH_REGION": "", "AWS_REGION": "b", "AWS_DEFAULT_REGION": "c"}, "b"),
        ({"AWS_DEFAULT_REGION": "c"}, "c"),
    ],
)
def test_region_is_that_of_the_run_or_the_machine(regions: dict[str, str], region: str) -> None:
    assert WorkerEnvironment.read(LEAST | regions).region == region


def test_an_empty_endpoint_is_none() -> None:
    assert WorkerEnvironment.read(LEAST | {"AWS_ENDPOINT_URL": ""}).endpoint_url is None


@pytest.mark.parametrize(
    ("missing", "reported"),
    [
        (["ASYNCBATCH_RUN"], "^ASYNCBATCH_RUN not set"),
        (["RIOSBucket"], "^RIOSBucket not set"),
        (["ASYNCBATCH_RUN", "RIOSBucket"], "^ASYNCBATCH_RUN and RIOSBucket not set"),
    ],
)
def test_a_worker_started_by_hand_reports_missing_variables(missing: list[str], reported: str) -> None:
    with pytest.raises(SettingsError, match=reported):
        WorkerEnvironment.read(LEAST | dict.fromkeys(missing, ""))
    with pytest.raises(SettingsError, match=reported):
        WorkerEnvironment.read({name: value for name, value in LEAST.items() if name not in missing})


@pytest.mark.parametrize("variable", ["ASYNCBATCH_SLOTS", "RIOS_NOMSG_TIMEOUT"])
@pytest.mark.parametrize("text", ["many", "nan", "inf", "-2", "0"])
def test_values_must_be_positive_numbers(variable: str, text: str) -> None:
    with pytest.raises(SettingsError, match=f"{variable} is '{text}'; it must be a positive number"):
        WorkerEnvironment.read(LEAST | {variable: text})


def test_slots_must_be_an_integer() -> None:
    with pytest.raises(SettingsError, match=r"ASYNCBATCH_SLOTS is 2\.7; it must be an integer"):
        WorkerEnvironment.read(LEAST | {"ASYNCBATCH_SLOTS": "2.7"})


@pytest.mark.parametrize("endpoint", [None, "http://127.0.0.1:5000"])
def test_a_worker_reads_what_its_launcher_writes(endpoint: str | None) -> None:
    assignment = Assignment(run="r1", token=bytes(range(32)), bucket="b1", region="us-west-2", endpoint_url=endpoint)
    found = WorkerEnvironment.read(assignment.environment())
    assert (found.run, found.bucket, found.region, found.endpoint_url) == ("r1", "b1", "us-west-2", endpoint)
    assert bytes.fromhex(found.token) == assignment.token


def test_repr_does_not_contain_half_of_the_key() -> None:
    assignment = Assignment(run="r1", token=b"\xab" * 32, bucket="b1", region="us-west-2", endpoint_url=None)
    for shown in (repr(assignment), repr(WorkerEnvironment.read(assignment.environment()))):
        assert "ab" * 32 not in shown
        assert r"\xab" not in shown


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({}, ""),
        ({"AWS_BATCH_JOB_ID": JOB}, "http://169.254.169.254"),
        ({"AWS_BATCH_JOB_ID": JOB, "AWS_EXECUTION_ENV": "AWS_ECS_FARGATE"}, ""),
        ({"AWS_BATCH_JOB_ID": JOB, "AWS_EC2_METADATA_DISABLED": "true"}, ""),
        (
            {"AWS_BATCH_JOB_ID": JOB, "AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://[fd00:ec2::254]"},
            "http://[fd00:ec2::254]",
        ),
    ],
)
def test_only_machines_of_ec2_announce_their_end(variables: dict[str, str], url: str) -> None:
    assert WorkerEnvironment.read(LEAST | variables).metadata_url == url

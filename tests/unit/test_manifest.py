import json
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbatch.errors import MessageError
from asyncbatch.manifest import (
    Manifest,
    alive_key,
    batch_worker,
    in_key,
    manifest_key,
    out_key,
    program_key,
    run_prefix,
)

seconds = st.floats(1, 86_400)
manifests = st.builds(
    Manifest,
    run=st.text(max_size=20),
    task_queue=st.text(max_size=20),
    result_queue=st.text(max_size=20),
    key=st.binary(min_size=1, max_size=32),
    versions=st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=4),
    lease=seconds,
    run_lease=seconds,
    idle_timeout=seconds,
    max_attempts=st.integers(1, 1_000),
)

MANIFEST = Manifest(
    run="r",
    task_queue="t",
    result_queue="u",
    key=b"\xabsecret",
    versions={},
    lease=30.0,
    run_lease=120.0,
    idle_timeout=300.0,
    max_attempts=5,
)


@given(manifests)
def test_a_manifest_comes_back_equal(manifest: Manifest) -> None:
    assert Manifest.from_json(manifest.to_json()) == manifest


@pytest.mark.parametrize(("change", "told"), [({"version": 2}, "version 2"), ({"version": None}, "version None")])
def test_another_version_is_refused(change: dict[str, object], told: str) -> None:
    values = json.loads(MANIFEST.to_json())
    with pytest.raises(MessageError, match=f"{told}; this worker speaks version 1"):
        Manifest.from_json(json.dumps(values | change).encode())


@pytest.mark.parametrize("text", [b"", b"junk", b"[]", b"5", b"{}", b'{"version":1}', b"\xff"])
def test_what_is_no_manifest_is_refused_and_shown(text: bytes) -> None:
    with pytest.raises(MessageError, match=r"^not a run's manifest") as caught:
        Manifest.from_json(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("change", [{"key": "xyz"}, {"key": None}, {"wage": 1}])
def test_a_manifest_with_other_fields_is_refused(change: dict[str, object]) -> None:
    values = json.loads(MANIFEST.to_json())
    with pytest.raises(MessageError, match=r"^not a run's manifest"):
        Manifest.from_json(json.dumps(values | change).encode())


def test_the_key_is_not_in_the_repr() -> None:
    assert "secret" not in repr(MANIFEST)


def test_all_that_is_a_run_s_lies_under_its_prefix() -> None:
    keys = [manifest_key("r"), alive_key("r"), in_key("r", 3), out_key("r", 3, "w", 1)]
    assert all(key.startswith(run_prefix("r")) for key in keys)
    assert not any(key.startswith((run_prefix("r2"), run_prefix(""))) for key in keys)


def test_a_program_outlives_its_run() -> None:
    assert not program_key("ab").startswith(run_prefix(""))
    assert not program_key("ab").startswith("runs/")


def test_no_two_objects_share_a_key() -> None:
    results = [out_key("r", *who) for who in product((1, 11, 111), ("1", "11", "1:1"), (1, 11))]
    keys = [manifest_key("r"), alive_key("r"), *(in_key("r", index) for index in (1, 11)), *results]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("job", "worker"),
    [
        ("0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9:12", "0a1b2c3d:12"),
        ("0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9", "0a1b2c3d:0"),
        ("", ":0"),
    ],
)
def test_a_job_s_worker_is_named_after_it(job: str, worker: str) -> None:
    assert batch_worker(job) == worker

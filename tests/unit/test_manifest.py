import dataclasses
import json
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbatch.errors import MessageError
from asyncbatch.fields import VersionError
from asyncbatch.manifest import (
    KEY_SIZE,
    Manifest,
    alive_key,
    batch_worker,
    in_key,
    manifest_key,
    out_key,
    program_key,
    run_prefix,
)
from asyncbatch.messages import VERSION
from tests.unit import odd

seconds = st.floats(1, 86_400)
manifests = st.builds(
    Manifest,
    run=st.text(max_size=20),
    task_queue=st.text(max_size=20),
    result_queue=st.text(max_size=20),
    key=st.binary(min_size=KEY_SIZE, max_size=KEY_SIZE),
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
    key=b"\xabsecret".ljust(KEY_SIZE),
    versions={},
    lease=30.0,
    run_lease=120.0,
    idle_timeout=300.0,
    max_attempts=5,
)


@given(manifests)
def test_a_manifest_comes_back_equal(manifest: Manifest) -> None:
    assert Manifest.from_json(manifest.to_json()) == manifest


def changed(changes: dict[str, object]) -> bytes:
    return json.dumps(json.loads(MANIFEST.to_json()) | changes).encode()


@pytest.mark.parametrize("version", [VERSION - 1, VERSION + 1, None, str(VERSION)])
def test_another_version_is_refused_by_name(version: object) -> None:
    with pytest.raises(VersionError) as caught:
        Manifest.from_json(changed({"version": version}))
    assert repr(version) in str(caught.value)


@pytest.mark.parametrize("text", [b"", b"junk", b"[]", b"5", b"{}", b'"version"', b"\xff", b"[" * 200_000])
def test_what_is_no_manifest_is_refused(text: bytes) -> None:
    with pytest.raises(MessageError) as caught:
        Manifest.from_json(text)
    assert type(caught.value) is MessageError


@pytest.mark.parametrize("key", ["xyz", None, 5, "ab" * (KEY_SIZE - 1), "ab" * (KEY_SIZE + 1), "zz" * KEY_SIZE, ""])
def test_a_manifest_with_another_kind_of_key_is_refused(key: object) -> None:
    with pytest.raises(VersionError):
        Manifest.from_json(changed({"key": key}))


def test_a_refusal_does_not_show_the_key() -> None:
    text = b"[" + MANIFEST.to_json()
    with pytest.raises(MessageError) as caught:
        Manifest.from_json(text)
    assert MANIFEST.key.hex() not in str(caught.value)


@pytest.mark.parametrize("name", ["lease", "run_lease", "idle_timeout", "max_attempts"])
@pytest.mark.parametrize("value", ["-1", "NaN", "Infinity", "1e999", f"1{'0' * 400}", "true", '"1"', "null", "[]"])
def test_a_number_is_finite_and_not_negative(name: str, value: str) -> None:
    with pytest.raises(VersionError):
        Manifest.from_json(changed({name: "here"}).replace(b'"here"', value.encode()))


@pytest.mark.parametrize(
    "changes", [{"wage": 1}, {"max_attempts": 0}, {"versions": {"a": 1}}, {"versions": None}, {"run": 5}]
)
def test_a_manifest_with_other_fields_is_of_another_version(changes: dict[str, object]) -> None:
    with pytest.raises(VersionError):
        Manifest.from_json(changed(changes))


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Manifest)])
def test_a_manifest_that_lacks_a_field_is_of_another_version(name: str) -> None:
    values = json.loads(MANIFEST.to_json())
    del values[name]
    with pytest.raises(VersionError):
        Manifest.from_json(json.dumps(values).encode())


def read_or_refused(text: bytes) -> tuple[Manifest | None, str]:
    """Return the manifest that a text holds, or what is said of a text that holds none."""
    try:
        return Manifest.from_json(text), ""
    except MessageError as error:
        return None, str(error)


@given(odd.changes(json.loads(MANIFEST.to_json())))
def test_a_changed_manifest_is_taken_as_it_is_or_refused(values: dict[str, Any]) -> None:
    found, refusal = read_or_refused(json.dumps(values).encode())
    assert len(refusal) < 400
    assert found is None or json.loads(found.to_json()) == values


@given(manifests, st.data())
def test_a_damaged_manifest_is_read_or_refused(manifest: Manifest, data: st.DataObject) -> None:
    text = manifest.to_json()
    place, end = sorted(data.draw(st.tuples(*[st.integers(0, len(text))] * 2)))
    _, refusal = read_or_refused(text[:place] + data.draw(st.binary(max_size=9)) + text[end:])
    assert len(refusal) < 400


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

import dataclasses
import hashlib
import hmac
import json
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbatch.errors import MessageError
from asyncbatch.wire.fields import VersionError
from asyncbatch.wire.manifest import (
    KEY_SIZE,
    Manifest,
    alive_key,
    batch_worker,
    begun_key,
    in_key,
    manifest_key,
    out_key,
    out_key_of_group,
    program_key,
    read_run_lease,
    run_prefix,
)
from asyncbatch.wire.messages import VERSION, SealError
from tests.unit import odd

seconds = st.floats(1, 86_400)
manifests = st.builds(
    Manifest,
    run=st.text(max_size=20),
    task_queue=st.text(max_size=20),
    result_queue=st.text(max_size=20),
    token=st.binary(min_size=KEY_SIZE, max_size=KEY_SIZE),
    salt=st.binary(min_size=KEY_SIZE, max_size=KEY_SIZE),
    versions=st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=4),
    lease=seconds,
    run_lease=seconds,
    idle_timeout=seconds,
    max_attempts=st.integers(1, 1_000),
    slot_memory=st.integers(0, 2**40),
)

OTHER = bytes(range(KEY_SIZE))

MANIFEST = Manifest(
    run="r",
    task_queue="t",
    result_queue="u",
    token=b"\xabsecret".ljust(KEY_SIZE),
    salt=b"\xcdhidden".ljust(KEY_SIZE),
    versions={},
    lease=30.0,
    run_lease=120.0,
    idle_timeout=300.0,
    max_attempts=5,
    slot_memory=0,
)


def read(text: bytes, token: bytes = MANIFEST.token) -> Manifest:
    return Manifest.from_json(text, token=token.hex())


def sealed(values: dict[str, Any], token: bytes = MANIFEST.token) -> bytes:
    """Return a manifest with any values and a valid seal."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return json.dumps(
        values | {"seal": hmac.new(token, f"manifest\n{text}".encode(), hashlib.sha256).hexdigest()}
    ).encode()


def values_of(manifest: Manifest) -> dict[str, Any]:
    """Return the values from which a manifest's seal is computed."""
    values: dict[str, Any] = json.loads(manifest.to_json())
    del values["seal"]
    return values


def changed(changes: dict[str, Any]) -> bytes:
    return sealed(values_of(MANIFEST) | changes)


@given(manifests)
def test_manifest_is_read_as_written(manifest: Manifest) -> None:
    found = read(manifest.to_json(), manifest.token)
    assert found == manifest
    assert found.key == manifest.key


def test_one_half_of_the_key_does_not_determine_the_key() -> None:
    text = MANIFEST.to_json()
    assert MANIFEST.salt.hex().encode() in text
    assert MANIFEST.token.hex().encode() not in text
    assert MANIFEST.key.hex().encode() not in text
    keys = {
        dataclasses.replace(MANIFEST, token=token, salt=salt).key
        for token in (MANIFEST.token, OTHER)
        for salt in (MANIFEST.salt, OTHER)
    }
    assert len(keys) == 4


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Manifest) if field.name != "token"])
def test_manifest_with_any_change_is_rejected(name: str) -> None:
    values = json.loads(MANIFEST.to_json())
    other = json.loads(
        dataclasses.replace(
            MANIFEST,
            run="s",
            task_queue="v",
            result_queue="w",
            salt=OTHER,
            versions={"numpy": "1"},
            lease=31.0,
            run_lease=121.0,
            idle_timeout=301.0,
            max_attempts=6,
            slot_memory=9,
        ).to_json()
    )
    with pytest.raises(SealError):
        read(json.dumps(values | {name: other[name]}).encode())


@pytest.mark.parametrize("seal", ["", "0" * 64, None, 5, [], "\ud800", "é"])
def test_a_manifest_without_its_seal_is_rejected(seal: object) -> None:
    with pytest.raises(SealError):
        read(json.dumps(json.loads(MANIFEST.to_json()) | {"seal": seal}).encode())
    with pytest.raises(SealError):
        read(json.dumps(values_of(MANIFEST)).encode())


def test_a_manifest_of_another_run_is_rejected() -> None:
    with pytest.raises(SealError):
        read(dataclasses.replace(MANIFEST, token=OTHER).to_json())


@pytest.mark.parametrize("token", ["", "xyz", "ab" * (KEY_SIZE - 1), "AB" * KEY_SIZE, "zz" * KEY_SIZE])
def test_a_worker_without_its_half_of_the_key_reports_the_variable(token: str) -> None:
    with pytest.raises(SealError, match="ASYNCBATCH_KEY") as caught:
        Manifest.from_json(MANIFEST.to_json(), token=token)
    assert token not in str(caught.value) or not token


@pytest.mark.parametrize("token", ["", MANIFEST.token.hex()])
def test_another_version_is_reported_with_and_without_a_key(token: str) -> None:
    with pytest.raises(VersionError, match="has version 2"):
        Manifest.from_json(b'{"run": "r", "key": "00", "version": 2}', token=token)


def test_an_older_worker_reads_another_version() -> None:
    """It reads the member `version` of a JSON object, and rejects any other version."""
    assert json.loads(MANIFEST.to_json())["version"] == VERSION > 2


def test_gc_reads_the_run_lease_without_the_key() -> None:
    assert read_run_lease(MANIFEST.to_json()) == 120.0
    for lease in (None, "1", -1.0, float("nan"), True):
        with pytest.raises(VersionError):
            read_run_lease(changed({"run_lease": lease}))
    with pytest.raises(VersionError):
        read_run_lease(changed({"version": VERSION + 1}))


@pytest.mark.parametrize("version", [VERSION - 1, VERSION + 1, None, str(VERSION)])
def test_another_version_is_rejected_by_name(version: object) -> None:
    with pytest.raises(VersionError) as caught:
        read(changed({"version": version}))
    assert repr(version) in str(caught.value)


@pytest.mark.parametrize("text", [b"", b"junk", b"[]", b"5", b"{}", b'"version"', b"\xff", b"[" * 200_000])
def test_text_that_is_not_a_manifest_is_rejected(text: bytes) -> None:
    with pytest.raises(MessageError) as caught:
        read(text)
    assert type(caught.value) is MessageError


@pytest.mark.parametrize("salt", ["xyz", None, 5, "ab" * (KEY_SIZE - 1), "ab" * (KEY_SIZE + 1), "zz" * KEY_SIZE, ""])
def test_manifest_with_an_invalid_salt_is_rejected(salt: object) -> None:
    with pytest.raises(VersionError):
        read(changed({"salt": salt}))


def test_errors_do_not_contain_the_key() -> None:
    for text in (b"[" + MANIFEST.to_json(), changed({"lease": None}), MANIFEST.to_json().replace(b"30.0", b"31.0")):
        with pytest.raises(MessageError) as caught:
            read(text)
        assert not [half for half in (MANIFEST.token, MANIFEST.salt, MANIFEST.key) if half.hex() in str(caught.value)]


@pytest.mark.parametrize("name", ["lease", "run_lease", "idle_timeout", "max_attempts"])
@pytest.mark.parametrize("value", ["-1", "NaN", "Infinity", "1e999", f"1{'0' * 400}", "true", '"1"', "null", "[]"])
def test_numbers_must_be_finite_and_not_negative(name: str, value: str) -> None:
    with pytest.raises(VersionError):
        read(changed({name: json.loads(value)}))


@pytest.mark.parametrize(
    "changes",
    [{"wage": 1}, {"token": None}, {"max_attempts": 0}, {"versions": {"a": 1}}, {"versions": None}, {"run": 5}],
)
def test_manifest_with_other_fields_has_another_version(changes: dict[str, object]) -> None:
    with pytest.raises(VersionError):
        read(changed(changes))


@pytest.mark.parametrize("name", sorted(values_of(MANIFEST).keys() - {"version"}))
def test_manifest_without_a_field_has_another_version(name: str) -> None:
    values = values_of(MANIFEST)
    del values[name]
    with pytest.raises(VersionError):
        read(sealed(values))


def read_or_catch(text: bytes) -> tuple[Manifest | None, str]:
    """Return the manifest in a text, or the error message."""
    try:
        return read(text), ""
    except MessageError as error:
        return None, str(error)


@given(odd.changes(values_of(MANIFEST)))
def test_sealed_manifest_is_read_unchanged_or_rejected(values: dict[str, Any]) -> None:
    found, refusal = read_or_catch(sealed(values))
    assert len(refusal) < 400
    assert found is None or values_of(found) == values


@given(manifests, st.data())
def test_damaged_manifest_is_read_or_rejected(manifest: Manifest, data: st.DataObject) -> None:
    text = manifest.to_json()
    place, end = sorted(data.draw(st.tuples(*[st.integers(0, len(text))] * 2)))
    _, refusal = read_or_catch(text[:place] + data.draw(st.binary(max_size=9)) + text[end:])
    assert len(refusal) < 400


def test_repr_does_not_contain_the_key() -> None:
    assert "secret" not in repr(MANIFEST)
    assert "hidden" not in repr(MANIFEST)


def test_all_objects_of_a_run_have_its_prefix() -> None:
    keys = [
        manifest_key("r"),
        alive_key("r"),
        in_key("r", 3),
        out_key("r", 3, "w", 1),
        out_key_of_group("r", 3, 2, "w"),
    ]
    assert all(key.startswith(run_prefix("r")) for key in keys)
    assert not any(key.startswith((run_prefix("r2"), run_prefix(""))) for key in keys)


def test_a_program_outlives_its_run() -> None:
    assert not program_key("ab").startswith(run_prefix(""))
    assert not program_key("ab").startswith("runs/")


def test_keys_of_objects_are_unique() -> None:
    results = [
        out_key("r", index, worker, attempt, copy=copy)
        for index, worker, attempt, copy in product((1, 11, 111), ("1", "11", "1:1"), (1, 11), (0, 1, 11))
    ]
    results += [
        out_key_of_group("r", first, count, worker)
        for first, count, worker in product((1, 11, 111), (1, 11), ("1", "11", "1:1"))
    ]
    results += [begun_key("r", index) for index in (1, 11)]
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

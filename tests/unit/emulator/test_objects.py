"""Tests of the model of a bucket."""

from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from asyncbatch.emulator import objects
from asyncbatch.emulator.faults import ServiceError
from asyncbatch.emulator.objects import Bucket, ObjectHead, read_range


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(ServiceError) as caught:
        call()
    return caught.value.code


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()


def test_object_has_the_content_of_the_last_put(bucket: Bucket) -> None:
    first = bucket.put(1, "key", b"first", head=ObjectHead(metadata={"a": "b"}))
    second = bucket.put(2, "key", b"first")
    assert bucket.get("key") is second
    assert (second.modified, second.head.metadata) == (2, {})
    assert first.etag != second.etag
    bucket.delete("key")
    bucket.delete("key")
    assert code_of(lambda: bucket.get("key")) == "NoSuchKey"
    assert bucket.is_empty()


def test_conditional_put_does_not_replace_an_object(bucket: Bucket) -> None:
    bucket.put(1, "key", b"first", if_absent=True)
    assert code_of(lambda: bucket.put(2, "key", b"second", if_absent=True)) == "PreconditionFailed"
    assert bucket.get("key").content == b"first"
    assert code_of(lambda: bucket.put(1, "k" * 1025, b"")) == "KeyTooLongError"


@example(keys={"/", "/a"}, gone=set(), prefix="/", delimiter="/", most=1)
@given(
    keys=st.sets(st.text("ab/", min_size=1, max_size=6), max_size=12),
    gone=st.sets(st.text("ab/", min_size=1, max_size=6), max_size=4),
    prefix=st.text("ab/", max_size=2),
    delimiter=st.sampled_from(["", "/", "b/"]),
    most=st.integers(1, 4),
)
def test_pages_of_keys_equal_a_naive_listing(
    keys: set[str], gone: set[str], prefix: str, delimiter: str, most: int
) -> None:
    bucket = Bucket()
    for key in keys:
        bucket.put(0, key, b"")
    for key in gone:
        bucket.delete(key)
    wanted: list[str] = []
    for key in sorted(keys - gone):
        if key.startswith(prefix):
            common, found, _ = key.removeprefix(prefix).partition(delimiter) if delimiter else (key, "", "")
            entry = f"{prefix}{common}{found}" if found else key
            if entry not in wanted:
                wanted.append(entry)
    listed: list[str] = []
    after: str | None = ""
    while after is not None:
        page = bucket.list_keys(prefix=prefix, delimiter=delimiter, after=after, most=most)
        assert len(page.keys) + len(page.prefixes) <= most
        listed += sorted(page.keys + page.prefixes)
        after = page.after
    assert listed == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=2-5", (2, 6)),
        ("bytes=5-", (5, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-30", (0, 10)),
        ("bytes=8-99", (8, 10)),
        ("bytes=5-2", None),
        ("bytes=-", None),
        ("lines=1-2", None),
        ("bytes=1-2,4-5", None),
    ],
)
def test_a_range_is_read(text: str, wanted: tuple[int, int] | None) -> None:
    assert read_range(text, 10) == wanted


@pytest.mark.parametrize("text", ["bytes=10-", "bytes=-0", "bytes=99-100"])
def test_range_beyond_the_object_is_rejected(text: str) -> None:
    assert code_of(lambda: read_range(text, 10)) == "InvalidRange"


def test_completed_upload_consists_of_the_chosen_parts(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "PART_MINIMUM", 4)
    bucket.create_upload("upload", "key", head=ObjectHead(content_type="text/plain"))
    etags = {
        number: bucket.put_part(0, "upload", "key", number, content).etag
        for number, content in ((3, b"d"), (1, b"aaaa"), (2, b"bbbb"))
    }
    assert bucket.is_empty()
    chosen = [(number, etags[number]) for number in (1, 2, 3)]
    assert code_of(lambda: bucket.complete_upload(1, "upload", "key", chosen[::-1])) == "InvalidPartOrder"
    assert code_of(lambda: bucket.complete_upload(1, "upload", "key", [])) == "InvalidPartOrder"
    assert code_of(lambda: bucket.complete_upload(1, "upload", "key", [(1, etags[2])])) == "InvalidPart"
    assert code_of(lambda: bucket.complete_upload(1, "upload", "other", chosen)) == "NoSuchUpload"
    bucket.complete_upload(1, "upload", "key", chosen)
    assert (bucket.get("key").content, bucket.get("key").head.content_type) == (b"aaaabbbbd", "text/plain")
    assert code_of(lambda: bucket.abort_upload("upload", "key")) == "NoSuchUpload"


def test_small_part_is_rejected_except_as_the_last(bucket: Bucket) -> None:
    bucket.create_upload("upload", "key", head=ObjectHead())
    chosen = [(number, bucket.put_part(0, "upload", "key", number, b"small").etag) for number in (1, 2)]
    assert code_of(lambda: bucket.complete_upload(1, "upload", "key", chosen)) == "EntityTooSmall"
    bucket.complete_upload(1, "upload", "key", chosen[:1])
    assert bucket.get("key").content == b"small"

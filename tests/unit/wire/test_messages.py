import dataclasses
import hashlib
import hmac
import json
import tracemalloc
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbatch.errors import MessageError
from asyncbatch.wire import messages
from asyncbatch.wire.fields import SHOWN, VersionError
from asyncbatch.wire.messages import (
    BATCH_LIMIT,
    INLINE_LIMIT,
    MESSAGE_LIMIT,
    VERSION,
    Body,
    Direction,
    ForeignMessageError,
    Goodbye,
    Heartbeat,
    Hello,
    Message,
    Outcome,
    ProgramDamaged,
    Result,
    Returned,
    SealError,
    Sentinel,
    Task,
    pack,
    seal,
    unpack,
    unseal,
)
from tests.unit import odd

KEY = b"k" * 32
RUN = "20260102-030405-0a1b2c3d"

counts = st.integers(0, 2**53)
attempts = st.integers(1, 2**53)
seconds = st.floats(0, 1e9)
directions = st.sampled_from(get_args(Direction))
names = st.text(max_size=20)
inline = st.binary(max_size=50).map(lambda content: Body.of(content, key="runs/r/in/0"))
parts = st.lists(st.binary(max_size=50), min_size=1, max_size=3).map(
    lambda contents: Body.of_parts(contents, key="runs/r/in/0")[1][-1]
)
bodies = inline | parts | st.just(Body.of(bytes(INLINE_LIMIT + 1), key="runs/r/in/0"))

kinds: dict[type[Message], st.SearchStrategy[Message]] = {
    Task: st.builds(
        Task,
        index=counts,
        program=names,
        program_size=counts,
        body=bodies,
        timeout=seconds,
        retry_on=st.lists(names, max_size=3),
    ),
    Sentinel: st.builds(Sentinel),
    Result: st.builds(
        Result,
        index=counts,
        worker=names,
        attempt=attempts,
        outcome=st.sampled_from(get_args(Outcome)),
        seconds=seconds,
        body=bodies,
        log_stream=names,
        peak=counts,
    ),
    Hello: st.builds(
        Hello,
        worker=names,
        slots=counts,
        versions=st.dictionaries(names, names, max_size=4),
        log_stream=names,
        refusal=names,
    ),
    Heartbeat: st.builds(Heartbeat, worker=names),
    Goodbye: st.builds(
        Goodbye,
        worker=names,
        reason=names,
        tiles=counts,
        busy_seconds=seconds,
        requests=st.dictionaries(names, counts, max_size=4),
    ),
    ProgramDamaged: st.builds(ProgramDamaged, worker=names, program=names, reason=names),
    Returned: st.builds(Returned, worker=names, tiles=st.lists(counts, max_size=4)),
}
any_message = st.one_of(*kinds.values())

TASK = Task(index=7, program="ab" * 32, program_size=1, body=Body.of(b"a payload", key="runs/r/in/7"))
SEALED = seal(TASK, run=RUN, direction="task", key=KEY)


def open_message(text: str, *, run: str = RUN, direction: Direction = "task", key: bytes = KEY) -> Message:
    return unseal(text, run=run, direction=direction, key=key)


def open_or_catch(text: str) -> tuple[Message | None, str]:
    """Return the message in a text, or the error message."""
    try:
        return open_message(text), ""
    except MessageError as error:
        return None, str(error)


def change_head(changes: dict[str, object]) -> str:
    """Return the sealed task with other values in its head and the original seal."""
    mac, head, text = SEALED.split("\n")
    return f"{mac}\n{json.dumps(json.loads(head) | changes)}\n{text}"


def sealed(head: dict[str, Any] | str, inline_text: str = SEALED.split("\n")[2]) -> str:
    """Return a message with any head and a valid seal."""
    text = head if isinstance(head, str) else json.dumps(head)
    mac = hmac.new(KEY, f"task\n{text}".encode(), hashlib.sha256).hexdigest()
    return f"{mac}\n{text}\n{inline_text}"


def split_message(message: Message) -> tuple[dict[str, Any], str]:
    """Return the head and the inline text of a message."""
    _, head, inline_text = seal(message, run=RUN, direction="task", key=KEY).split("\n")
    return json.loads(head), inline_text


def read_head(message: Message) -> dict[str, Any]:
    return split_message(message)[0]


def test_all_kinds_of_messages_are_tested() -> None:
    assert set(kinds) == set(get_args(Message))


@given(any_message, names, directions, st.binary(min_size=1, max_size=32))
def test_sealed_message_is_unsealed(message: Message, run: str, direction: Direction, key: bytes) -> None:
    text = seal(message, run=run, direction=direction, key=key)
    assert unseal(text, run=run, direction=direction, key=key) == message


@given(any_message, names)
def test_only_characters_that_sqs_accepts_are_sent(message: Message, run: str) -> None:
    text = seal(message, run=run, direction="task", key=KEY)
    assert text.replace("\n", "").isprintable()
    assert text.isascii(), "each character is one byte, as limits assume"


@given(any_message)
def test_a_message_of_another_run_is_foreign(message: Message) -> None:
    text = seal(message, run="theirs", direction="task", key=KEY)
    with pytest.raises(ForeignMessageError):
        open_message(text, run="ours")


@given(any_message, st.sampled_from([("task", "result"), ("result", "task")]))
def test_message_in_the_other_direction_is_rejected(message: Message, ways: tuple[Direction, Direction]) -> None:
    text = seal(message, run=RUN, direction=ways[0], key=KEY)
    with pytest.raises(SealError):
        open_message(text, direction=ways[1])


@given(any_message)
def test_a_message_sealed_with_another_key_is_rejected(message: Message) -> None:
    text = seal(message, run=RUN, direction="task", key=b"j" * 32)
    with pytest.raises(SealError):
        open_message(text)


@given(any_message, st.data())
def test_a_changed_character_is_rejected_or_changes_nothing(message: Message, data: st.DataObject) -> None:
    text = seal(message, run=RUN, direction="task", key=KEY)
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters(min_codepoint=10, max_codepoint=126).filter(lambda char: char != text[place]))
    changed = text[:place] + other + text[place + 1 :]
    try:
        found = open_message(changed)
    except MessageError:
        return
    # Some of the last bits of base64 have no effect, and unknown keys are ignored.
    assert text.rindex("\n") < place
    assert found == message


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Task)])
def test_seal_covers_each_field(name: str) -> None:
    body = {"sha256": "0", "size": 9, "key": "k"}
    wanted: dict[str, object] = {
        "index": 8,
        "program": "cd" * 32,
        "program_size": 2,
        "body": body,
        "timeout": 1.0,
        "retry_on": ["builtins.OSError"],
        "copy": 1,
        "prompt": True,
    }
    with pytest.raises(SealError):
        open_message(change_head({name: wanted[name]}))


def test_seal_covers_the_kind() -> None:
    with pytest.raises(SealError):
        open_message(change_head({"kind": "Result"}))


def test_foreign_message_with_the_id_of_this_run_is_rejected() -> None:
    mac, head, text = seal(TASK, run="theirs", direction="task", key=b"j" * 32).split("\n")
    with pytest.raises(SealError):
        open_message(f"{mac}\n{head.replace('theirs', RUN)}\n{text}")


def test_swapped_bodies_are_rejected() -> None:
    other = Task(index=8, program=TASK.program, program_size=1, body=Body.of(b"b payload", key="runs/r/in/8"))
    head, _, _ = SEALED.rpartition("\n")
    _, _, text = seal(other, run=RUN, direction="task", key=KEY).rpartition("\n")
    with pytest.raises(SealError):
        open_message(f"{head}\n{text}")


def test_body_that_is_not_base64_is_rejected() -> None:
    with pytest.raises(SealError):
        open_message(f"{SEALED[:-1]}*")


@pytest.mark.parametrize(
    "changes",
    [
        {"version": VERSION - 1},
        {"version": VERSION + 1},
        {"version": None},
        {"kind": "Question"},
        {"kind": None},
        {"kind": []},
    ],
)
def test_another_version_or_kind_is_rejected_by_name(changes: dict[str, object]) -> None:
    [refused] = changes.values()
    with pytest.raises(VersionError) as caught:
        open_message(change_head(changes))
    assert repr(refused) in str(caught.value)


def test_next_version_rejects_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "VERSION", VERSION + 1)
    with pytest.raises(VersionError):
        open_message(SEALED)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "{}",
        "a\nb\nc",
        "a\n{}\nc",
        "a\nnull\nc",
        "a\n5\nc",
        'a\n"b"\nc',
        "a\n[1]\nc",
        pytest.param(f"a\n{'[' * 200_000}\nc", id="deep"),
        pytest.param(f"\ud800{SEALED}", id="surrogate"),
        pytest.param(f"{SEALED[:-1]}\N{LATIN SMALL LETTER E WITH ACUTE}", id="body not ASCII"),
        f"{SEALED}\n",
        f"\n{SEALED}",
    ],
)
def test_text_that_is_not_a_message_is_rejected_and_shown(text: str) -> None:
    with pytest.raises(MessageError) as caught:
        open_message(text)
    assert type(caught.value) is MessageError
    assert repr(text)[: SHOWN - 2] in str(caught.value)


@given(st.text())
def test_any_other_text_is_rejected(text: str) -> None:
    with pytest.raises(MessageError):
        open_message(text)


@given(any_message, st.data())
def test_sealed_head_is_read_unchanged_or_rejected(message: Message, data: st.DataObject) -> None:
    head, inline_text = split_message(message)
    changed = data.draw(odd.changes(head))
    found, refusal = open_or_catch(sealed(changed, inline_text))
    assert len(refusal) < 400
    assert found is None or read_head(found).items() >= changed.items()


@given(bodies, st.data())
def test_sealed_body_is_read_unchanged_or_rejected(body: Body, data: st.DataObject) -> None:
    head, inline_text = split_message(dataclasses.replace(TASK, body=body))
    changed = data.draw(odd.changes(head["body"]))
    found, refusal = open_or_catch(sealed(head | {"body": changed}, inline_text))
    assert len(refusal) < 400
    assert found is None or read_head(found)["body"].items() >= changed.items() - ABSENT


ABSENT = {("inline", None), ("start", 0), ("object_size", 0)}


@pytest.mark.parametrize(
    ("start", "object_size", "key"), [(1, 0, "k"), (3, 6, "k"), (0, 2, "k"), (0, 3, None), (2**53, 2**53, "k")]
)
def test_body_that_is_not_a_part_of_an_object_is_rejected(start: int, object_size: int, key: str | None) -> None:
    body = Body(sha256="f" * 64, size=4, key=key, start=start, object_size=object_size)
    head, _ = split_message(dataclasses.replace(TASK, body=body))
    head["body"] |= {"start": start, "object_size": object_size}
    assert open_or_catch(sealed(head, ""))[0] is None


RESULT = Result(index=7, worker="w", attempt=1, outcome="ok", seconds=0.5, body=TASK.body)
HELLO = Hello(worker="w", slots=1, versions={})
GOODBYE = Goodbye(worker="w", reason="idle", tiles=0, busy_seconds=0.0, requests={})

_NUMBERS: list[tuple[Message, str]] = [
    (TASK, "index"),
    (TASK, "program_size"),
    (RESULT, "attempt"),
    (RESULT, "seconds"),
    (HELLO, "slots"),
    (GOODBYE, "tiles"),
    (GOODBYE, "busy_seconds"),
]


@pytest.mark.parametrize(
    "value", ["-1", "NaN", "Infinity", "-Infinity", "1e999", f"1{'0' * 400}", "true", '"1"', "null"]
)
@pytest.mark.parametrize(("message", "name"), _NUMBERS)
def test_numbers_must_be_finite_and_not_negative(message: Message, name: str, value: str) -> None:
    head = json.dumps(read_head(message) | {name: "here"}).replace('"here"', value)
    with pytest.raises(VersionError):
        open_message(sealed(head))


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        (RESULT, {"attempt": 0}),
        (TASK, {"index": 0.5}),
        (TASK, {"body": {"sha256": "0", "size": -1, "key": "k"}}),
        (TASK, {"body": {"sha256": "0", "size": 0, "key": "k", "wage": 1}}),
        (TASK, {"body": {"sha256": "0", "size": 0, "inline": "0"}}),
        (TASK, {"body": {"sha256": "0", "key": "k"}}),
        (TASK, {"body": None}),
        (TASK, {"body": ["sha256", "size", "key"]}),
        (TASK, {"wage": 1}),
        (Sentinel(), {"body": {"sha256": "0", "size": 0, "key": "k"}}),
        (RESULT, {"outcome": "maybe"}),
        (RESULT, {"outcome": ["ok"]}),
        (HELLO, {"versions": {"numpy": 2}}),
        (HELLO, {"versions": [["numpy", "2"]]}),
        (GOODBYE, {"requests": {"SendMessage": -1}}),
        (GOODBYE, {"requests": {"SendMessage": float("nan")}}),
    ],
)
def test_sealed_message_with_other_fields_has_another_version(message: Message, changes: dict[str, Any]) -> None:
    with pytest.raises(VersionError):
        open_message(sealed(read_head(message) | changes))


@pytest.mark.parametrize(
    ("message", "name"), [(RESULT, "attempt"), (TASK, "body"), (TASK, "program_size"), (HELLO, "versions")]
)
def test_sealed_message_without_a_field_has_another_version(message: Message, name: str) -> None:
    head = read_head(message)
    del head[name]
    with pytest.raises(VersionError) as caught:
        open_message(sealed(head))
    assert name in str(caught.value)


def test_fields_with_a_default_can_be_missing() -> None:
    head = read_head(RESULT)
    del head["log_stream"]
    assert open_message(sealed(head)) == RESULT


@pytest.mark.parametrize("size", [0, 8, 10, 2**60])
def test_inline_body_must_have_the_size_in_its_head(size: int) -> None:
    head = read_head(TASK)
    head["body"]["size"] = size
    with pytest.raises(SealError):
        open_message(sealed(head))


def test_last_value_of_a_repeated_field_counts() -> None:
    head = json.dumps(read_head(TASK))
    assert open_message(sealed(f'{head[:-1]},"index":8}}')) == dataclasses.replace(TASK, index=8)
    with pytest.raises(SealError):
        open_message(SEALED.replace('"index":7', '"index":7,"index":8'))


_HUGE = [
    json.dumps("x" * MESSAGE_LIMIT),
    json.dumps("\0" * 20_000),
    json.dumps(["x" * 1_000] * 100),
    f"[{'[],' * 10_000}[]]",
    f"1{'0' * 4_000}",
    f"1{'0' * 100_000}",
    f"{'[' * 100}{']' * 100}",
    "[" * 100_000,
]


@pytest.mark.parametrize("value", _HUGE, ids=range(len(_HUGE)))
@pytest.mark.parametrize("field", ["run", "kind", "index"])
def test_errors_are_short_for_large_messages(field: str, value: str) -> None:
    head = json.dumps(read_head(TASK) | {field: "here"}).replace('"here"', value)
    found, refusal = open_or_catch(sealed(head))
    assert found is None
    assert len(refusal) < 400


@pytest.mark.parametrize("field", ["run", "kind", "index", "more"])
def test_messages_of_any_depth_are_rejected(field: str) -> None:
    """Depths around the limit of Python's stack, including texts that can be read but are too deep for `repr`."""
    for depth in range(500, 1_100, 23):
        head = json.dumps(read_head(TASK) | {field: "here"}).replace('"here"', "[" * depth + "]" * depth)
        found, refusal = open_or_catch(sealed(head))
        assert found is None
        assert len(refusal) < 400


def test_memory_to_reject_many_small_values_is_proportional_to_the_message() -> None:
    text = sealed(f'{{"run":[{"[]," * 10_000}[]],"version":{VERSION},"kind":"Task"}}')
    tracemalloc.start()
    try:
        open_or_catch(text)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 64 * len(text)


@given(any_message, st.data())
def test_message_with_removed_or_added_characters_is_rejected_or_unchanged(
    message: Message, data: st.DataObject
) -> None:
    text = seal(message, run=RUN, direction="task", key=KEY)
    place, end = sorted(data.draw(st.tuples(*[st.integers(0, len(text))] * 2)))
    found, refusal = open_or_catch(text[:place] + data.draw(odd.texts) + text[end:])
    assert len(refusal) < 400
    assert found in (None, message)


@pytest.mark.parametrize("size", [0, 1, INLINE_LIMIT])
def test_small_body_is_inline(size: int) -> None:
    content = bytes(size)
    body = Body.of(content, key="k")
    assert body == Body(sha256=hashlib.sha256(content).hexdigest(), size=size, inline=content)


def test_larger_body_is_sent_through_s3() -> None:
    content = bytes(INLINE_LIMIT + 1)
    body = Body.of(content, key="k")
    assert body == Body(sha256=hashlib.sha256(content).hexdigest(), size=len(content), key="k")


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=5))
def test_several_bodies_are_parts_of_one_object(contents: list[bytes]) -> None:
    joined, parts = Body.of_parts(contents, key="k")
    assert [joined[part.start : part.start + part.size] for part in parts] == contents
    assert {(part.sha256, part.key, part.inline) for part in parts} == {(hashlib.sha256(joined).hexdigest(), "k", None)}
    assert {part.object_size for part in parts} == {len(joined) if len(contents) > 1 else 0}


@pytest.mark.parametrize("direction", get_args(Direction))
def test_ten_full_bodies_fit_in_one_batch(direction: Direction) -> None:
    body = Body.of(b"\xff" * INLINE_LIMIT, key="")
    widest: dict[Direction, Message] = {
        "task": Task(index=2**63, program="f" * 64, program_size=1, body=body),
        # The name of a log stream has up to 512 characters.
        "result": Result(
            index=2**63,
            worker="deadbeef:10000",
            attempt=1000,
            outcome="error",
            seconds=1 / 3e5,
            body=body,
            log_stream="\N{BULLET}" * 512,
        ),
    }
    text = seal(widest[direction], run="\N{BULLET}" * 64, direction=direction, key=KEY)
    assert BATCH_LIMIT * len(text.encode()) <= MESSAGE_LIMIT


def test_repr_does_not_contain_the_body() -> None:
    assert "payload" not in repr(TASK)


def test_messages_are_immutable() -> None:
    field: Any = "index"
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(TASK, field, 8)


@given(st.lists(st.sampled_from([TASK, RESULT, HELLO, GOODBYE]), min_size=1, max_size=5))
def test_packed_messages_are_unpacked_unchanged(messages: list[Message]) -> None:
    texts = [seal(message, run=RUN, direction="result", key=KEY) for message in messages]
    assert unpack(pack(texts)) == texts

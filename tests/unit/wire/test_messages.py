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
bodies = inline | st.just(Body.of(bytes(INLINE_LIMIT + 1), key="runs/r/in/0"))

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
}
any_message = st.one_of(*kinds.values())

TASK = Task(index=7, program="ab" * 32, program_size=1, body=Body.of(b"a payload", key="runs/r/in/7"))
SEALED = seal(TASK, run=RUN, direction="task", key=KEY)


def opened(text: str, *, run: str = RUN, direction: Direction = "task", key: bytes = KEY) -> Message:
    return unseal(text, run=run, direction=direction, key=key)


def opened_or_refused(text: str) -> tuple[Message | None, str]:
    """Return the message that a text holds, or what is said of a text that holds none."""
    try:
        return opened(text), ""
    except MessageError as error:
        return None, str(error)


def resealed(changes: dict[str, object]) -> str:
    """Return the sealed task with other values in its head, its seal as it was."""
    mac, head, text = SEALED.split("\n")
    return f"{mac}\n{json.dumps(json.loads(head) | changes)}\n{text}"


def sealed(head: dict[str, Any] | str, inline_text: str = SEALED.split("\n")[2]) -> str:
    """Return a message whose seal is right, whatever its head."""
    text = head if isinstance(head, str) else json.dumps(head)
    mac = hmac.new(KEY, f"task\n{text}".encode(), hashlib.sha256).hexdigest()
    return f"{mac}\n{text}\n{inline_text}"


def parts_of(message: Message) -> tuple[dict[str, Any], str]:
    """Return the head and the inline text of a message."""
    _, head, inline_text = seal(message, run=RUN, direction="task", key=KEY).split("\n")
    return json.loads(head), inline_text


def head_of(message: Message) -> dict[str, Any]:
    return parts_of(message)[0]


def test_every_kind_of_message_is_tried() -> None:
    assert set(kinds) == set(get_args(Message))


@given(any_message, names, directions, st.binary(min_size=1, max_size=32))
def test_what_is_sealed_is_unsealed(message: Message, run: str, direction: Direction, key: bytes) -> None:
    text = seal(message, run=run, direction=direction, key=key)
    assert unseal(text, run=run, direction=direction, key=key) == message


@given(any_message, names)
def test_only_characters_that_sqs_takes_are_sent(message: Message, run: str) -> None:
    text = seal(message, run=run, direction="task", key=KEY)
    assert text.replace("\n", "").isprintable()
    assert text.isascii(), "a character is a byte, as the limits count"


@given(any_message)
def test_a_message_of_another_run_is_foreign(message: Message) -> None:
    text = seal(message, run="theirs", direction="task", key=KEY)
    with pytest.raises(ForeignMessageError):
        opened(text, run="ours")


@given(any_message, st.sampled_from([("task", "result"), ("result", "task")]))
def test_a_message_does_not_go_the_other_way(message: Message, ways: tuple[Direction, Direction]) -> None:
    text = seal(message, run=RUN, direction=ways[0], key=KEY)
    with pytest.raises(SealError):
        opened(text, direction=ways[1])


@given(any_message)
def test_a_message_sealed_with_another_key_is_rejected(message: Message) -> None:
    text = seal(message, run=RUN, direction="task", key=b"j" * 32)
    with pytest.raises(SealError):
        opened(text)


@given(any_message, st.data())
def test_a_changed_character_is_rejected_or_changes_nothing(message: Message, data: st.DataObject) -> None:
    text = seal(message, run=RUN, direction="task", key=KEY)
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters(min_codepoint=10, max_codepoint=126).filter(lambda char: char != text[place]))
    changed = text[:place] + other + text[place + 1 :]
    try:
        found = opened(changed)
    except MessageError:
        return
    # Some of the last bits of base64 are of no effect, and what stands beside a key is not looked at.
    assert text.rindex("\n") < place
    assert found == message


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Task)])
def test_each_field_is_under_the_seal(name: str) -> None:
    body = {"sha256": "0", "size": 9, "key": "k"}
    wanted: dict[str, object] = {
        "index": 8,
        "program": "cd" * 32,
        "program_size": 2,
        "body": body,
        "timeout": 1.0,
        "retry_on": ["builtins.OSError"],
        "copy": 1,
    }
    with pytest.raises(SealError):
        opened(resealed({name: wanted[name]}))


def test_the_kind_is_under_the_seal() -> None:
    with pytest.raises(SealError):
        opened(resealed({"kind": "Result"}))


def test_claiming_this_run_does_not_make_a_foreign_message_ours() -> None:
    mac, head, text = seal(TASK, run="theirs", direction="task", key=b"j" * 32).split("\n")
    with pytest.raises(SealError):
        opened(f"{mac}\n{head.replace('theirs', RUN)}\n{text}")


def test_bodies_do_not_change_places() -> None:
    other = Task(index=8, program=TASK.program, program_size=1, body=Body.of(b"b payload", key="runs/r/in/8"))
    head, _, _ = SEALED.rpartition("\n")
    _, _, text = seal(other, run=RUN, direction="task", key=KEY).rpartition("\n")
    with pytest.raises(SealError):
        opened(f"{head}\n{text}")


def test_a_body_that_is_no_base64_is_rejected() -> None:
    with pytest.raises(SealError):
        opened(f"{SEALED[:-1]}*")


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
        opened(resealed(changes))
    assert repr(refused) in str(caught.value)


def test_the_next_version_does_not_read_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "VERSION", VERSION + 1)
    with pytest.raises(VersionError):
        opened(SEALED)


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
def test_what_is_no_message_is_rejected_and_shown(text: str) -> None:
    with pytest.raises(MessageError) as caught:
        opened(text)
    assert type(caught.value) is MessageError
    assert repr(text)[: SHOWN - 2] in str(caught.value)


@given(st.text())
def test_any_other_text_is_rejected(text: str) -> None:
    with pytest.raises(MessageError):
        opened(text)


@given(any_message, st.data())
def test_a_sealed_head_is_taken_as_it_is_or_refused(message: Message, data: st.DataObject) -> None:
    head, inline_text = parts_of(message)
    changed = data.draw(odd.changes(head))
    found, refusal = opened_or_refused(sealed(changed, inline_text))
    assert len(refusal) < 400
    assert found is None or head_of(found).items() >= changed.items()


@given(bodies, st.data())
def test_a_sealed_body_is_taken_as_it_is_or_refused(body: Body, data: st.DataObject) -> None:
    head, inline_text = parts_of(dataclasses.replace(TASK, body=body))
    changed = data.draw(odd.changes(head["body"]))
    found, refusal = opened_or_refused(sealed(head | {"body": changed}, inline_text))
    assert len(refusal) < 400
    assert found is None or head_of(found)["body"].items() >= changed.items() - {("inline", None)}


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
def test_a_number_is_finite_and_not_negative(message: Message, name: str, value: str) -> None:
    head = json.dumps(head_of(message) | {name: "here"}).replace('"here"', value)
    with pytest.raises(VersionError):
        opened(sealed(head))


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
def test_a_sealed_message_with_other_fields_is_of_another_version(message: Message, changes: dict[str, Any]) -> None:
    with pytest.raises(VersionError):
        opened(sealed(head_of(message) | changes))


@pytest.mark.parametrize(
    ("message", "name"), [(RESULT, "attempt"), (TASK, "body"), (TASK, "program_size"), (HELLO, "versions")]
)
def test_a_sealed_message_that_lacks_a_field_is_of_another_version(message: Message, name: str) -> None:
    head = head_of(message)
    del head[name]
    with pytest.raises(VersionError) as caught:
        opened(sealed(head))
    assert name in str(caught.value)


def test_fields_with_a_default_may_be_absent() -> None:
    head = head_of(RESULT)
    del head["log_stream"]
    assert opened(sealed(head)) == RESULT


@pytest.mark.parametrize("size", [0, 8, 10, 2**60])
def test_an_inline_body_has_the_size_that_its_head_names(size: int) -> None:
    head = head_of(TASK)
    head["body"]["size"] = size
    with pytest.raises(SealError):
        opened(sealed(head))


def test_of_a_repeated_field_the_last_counts_as_json_has_it() -> None:
    head = json.dumps(head_of(TASK))
    assert opened(sealed(f'{head[:-1]},"index":8}}')) == dataclasses.replace(TASK, index=8)
    with pytest.raises(SealError):
        opened(SEALED.replace('"index":7', '"index":7,"index":8'))


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
def test_a_refusal_is_short_however_large_the_message(field: str, value: str) -> None:
    head = json.dumps(head_of(TASK) | {field: "here"}).replace('"here"', value)
    found, refusal = opened_or_refused(sealed(head))
    assert found is None
    assert len(refusal) < 400


@pytest.mark.parametrize("field", ["run", "kind", "index", "more"])
def test_no_depth_is_too_deep_to_be_refused(field: str) -> None:
    """Up to and past what Python's stack holds: read, but too deep for `repr`."""
    for depth in range(500, 1_100, 23):
        head = json.dumps(head_of(TASK) | {field: "here"}).replace('"here"', "[" * depth + "]" * depth)
        found, refusal = opened_or_refused(sealed(head))
        assert found is None
        assert len(refusal) < 400


def test_refusing_a_message_of_many_small_values_takes_memory_in_proportion() -> None:
    text = sealed(f'{{"run":[{"[]," * 10_000}[]],"version":{VERSION},"kind":"Task"}}')
    tracemalloc.start()
    try:
        opened_or_refused(text)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 64 * len(text)


@given(any_message, st.data())
def test_a_message_cut_or_filled_up_anywhere_is_rejected_or_unchanged(message: Message, data: st.DataObject) -> None:
    text = seal(message, run=RUN, direction="task", key=KEY)
    place, end = sorted(data.draw(st.tuples(*[st.integers(0, len(text))] * 2)))
    found, refusal = opened_or_refused(text[:place] + data.draw(odd.texts) + text[end:])
    assert len(refusal) < 400
    assert found in (None, message)


@pytest.mark.parametrize("size", [0, 1, INLINE_LIMIT])
def test_a_small_body_travels_inline(size: int) -> None:
    content = bytes(size)
    body = Body.of(content, key="k")
    assert body == Body(sha256=hashlib.sha256(content).hexdigest(), size=size, inline=content)


def test_a_larger_body_travels_by_s3() -> None:
    content = bytes(INLINE_LIMIT + 1)
    body = Body.of(content, key="k")
    assert body == Body(sha256=hashlib.sha256(content).hexdigest(), size=len(content), key="k")


@pytest.mark.parametrize("direction", get_args(Direction))
def test_ten_full_bodies_make_one_batch(direction: Direction) -> None:
    body = Body.of(b"\xff" * INLINE_LIMIT, key="")
    widest: dict[Direction, Message] = {
        "task": Task(index=2**63, program="f" * 64, program_size=1, body=body),
        # A log stream's name has up to 512 characters.
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


def test_a_body_is_not_in_its_repr() -> None:
    assert "payload" not in repr(TASK)


def test_messages_do_not_change() -> None:
    field: Any = "index"
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(TASK, field, 8)


@given(st.lists(st.sampled_from([TASK, RESULT, HELLO, GOODBYE]), min_size=1, max_size=5))
def test_messages_that_are_packed_come_out_as_they_were(messages: list[Message]) -> None:
    texts = [seal(message, run=RUN, direction="result", key=KEY) for message in messages]
    assert unpack(pack(texts)) == texts

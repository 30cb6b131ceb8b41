import functools
import gc
import json
import operator
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import cloudpickle
import numpy as np
import pytest

from asyncbatch.errors import ProgramError
from asyncbatch.main.pickling import pickler
from asyncbatch.main.program import Program, ProgramCache, encode_arguments
from asyncbatch.wire import codec
from asyncbatch.wire.processstate import ProcessState

LOCK = threading.Lock()

FILES = {
    "tiling/__init__.py": "from .steps import halve\n",
    "tiling/steps.py": """
import json
from . import scales
from .scales import offset

def halve(value):
    return json.loads("0.5") * value * scales.FACTOR + offset(value)

class Half:
    def __init__(self, value):
        self.value = value
    def __call__(self, other):
        return halve(self.value) + other
    def bound(self, other):
        return self.value * other
""",
    "tiling/scales.py": "FACTOR = 10\n\ndef offset(value):\n    return 0.25\n",
    "beside.py": "def twice(value):\n    return 2 * value\n\nclass Half:\n    share = 0.5\n",
}

CHANGING = """
OFFSET, TABLE = 1, {"factor": [1, 2]}

class Config:
    scale = 1
    def __init__(self):
        self.bias = 1

config = Config()

def helper(value, default=1):
    return value + default

def fn():
    inner = lambda: OFFSET
    return (inner(), TABLE["factor"][1], config.bias, Config.scale, helper(1))
"""

CHANGES = [
    "OFFSET = 2",
    "TABLE['factor'][1] = 3",
    "TABLE = {'factor': [0, 9]}",
    "config.bias = 2",
    "Config.scale = 2",
    "helper.__defaults__ = (2,)",
    "helper = lambda value: -value",
]

COMPUTE = """
import sys
from dataclasses import dataclass
from pathlib import Path
from asyncbatch.wire import codec
state, program, _ = codec.decode(Path(sys.argv[1]).read_bytes())
args, kwargs, _ = codec.decode(Path(sys.argv[2]).read_bytes())
print(program(*args, **kwargs), *[name for name in sys.modules if name in ("tiling", "beside")])
"""

Compute = Callable[..., str]


class Slotted:
    """A callable that does not support weak references."""

    __slots__ = ()

    def __call__(self) -> int:
        return 1


class Holder:
    def __init__(self) -> None:
        self.items = [1]

    def count(self, item: int) -> int:
        return self.items.count(item)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a folder with the user's modules, which only this process can import."""
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] in {"tiling", "beside"}]:
        del sys.modules[name]


@pytest.fixture
def tiling(folder: Path) -> Any:  # noqa: ANN401 - a module that mypy does not see
    assert folder
    return __import__("tiling.steps").steps


@pytest.fixture
def compute(tmp_path: Path) -> Compute:
    """Return a function that computes a tile as a worker does, in another process without the modules."""

    def call(program: Program, *args: object) -> str:
        (tmp_path / "program").write_bytes(program.content)
        (tmp_path / "arguments").write_bytes(encode_arguments(args, {}))
        command = [sys.executable, "-c", COMPUTE, str(tmp_path / "program"), str(tmp_path / "arguments")]
        return subprocess.run(command, check=True, capture_output=True, text=True, cwd="/").stdout.strip()

    return call


def load_program(program: Program) -> Any:  # noqa: ANN401 - whatever was pickled
    return unpickle(program)[1]


def state(program: Program) -> ProcessState:
    found: ProcessState = unpickle(program)[0]
    return found


def unpickle(program: Program) -> Any:  # noqa: ANN401 - what was pickled
    return codec.decode(bytearray(program.content))


def test_shared_arguments_come_first() -> None:
    program = Program.of(lambda *args, **kwargs: (args, kwargs), (1, 2), {"a": 3, "b": 4})
    assert load_program(program)(5, b=6) == ((1, 2, 5), {"a": 3, "b": 6})


def test_a_program_is_named_after_its_function() -> None:
    assert Program.of(json.dumps, (), {}).name == "dumps"
    assert Program.of(functools.partial(json.dumps), (), {}).name.startswith("functools.partial(<function dumps")
    for args, kwargs in (((json.dumps, 1), {}), ((), {"other": 1, "fn": json.dumps})):
        assert Program.of(codec.encode, args, kwargs).name == "dumps", "not called"


def test_different_programs_have_different_digests() -> None:
    array = np.arange(10_000)
    one, again, other = (Program.of(np.add, (shared,), {}) for shared in (array, array.copy(), array + 1))
    assert one.digest == again.digest != other.digest
    assert len(one.digest) == 64


def test_modules_beside_the_function_are_sent(tiling: Any, compute: Compute) -> None:  # noqa: ANN401
    """These are its package and what it imports from it, but not installed modules."""
    assert compute(Program.of(tiling.halve, (), {}), 3) == "15.25"


@pytest.fixture
def script(folder: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the module of a script in the folder, as if this process ran it."""
    module = ModuleType("__main__")
    module.__file__ = str(folder / "script.py")
    monkeypatch.setitem(sys.modules, "__main__", module)
    return module


def test_modules_beside_the_script_are_sent_with_its_functions(script: ModuleType, compute: Compute) -> None:
    code = "import beside\nfrom tiling import halve\n\ndef fn(value):\n    return beside.twice(halve(value))\n"
    exec(code, vars(script))  # noqa: S102 - as Python runs a script
    assert compute(Program.of(script.fn, (), {}), 3) == "30.5"


def test_modules_beside_the_script_are_sent_with_shared_arguments(script: ModuleType, compute: Compute) -> None:
    exec("import beside", vars(script))  # noqa: S102 - as Python runs a script
    assert compute(Program.of(max, (), {"key": script.beside.twice}), [1, 3, 2]) == "3"


def test_partial_of_a_user_function_is_sent_by_value(tiling: Any, compute: Compute) -> None:  # noqa: ANN401
    assert compute(Program.of(functools.partial(tiling.halve, 3), (), {})) == "15.25"


def test_object_of_a_user_class_is_sent_by_value(tiling: Any, compute: Compute) -> None:  # noqa: ANN401
    assert compute(Program.of(tiling.Half(3), (), {}), 1) == "16.25"
    assert compute(Program.of(tiling.Half(3).bound, (), {}), 2) == "6"


def test_installed_modules_are_sent_by_name() -> None:
    assert load_program(Program.of(json.dumps, (), {})) is json.dumps
    assert load_program(Program.of(pytest.approx, (), {})) is pytest.approx
    assert load_program(Program.of(codec.join, (), {})) is codec.join


@pytest.mark.parametrize("place", ["site-packages", "dist-packages"])
def test_modules_in_user_site_packages_are_sent_by_name(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / place).mkdir()
    (tmp_path / place / "others.py").write_text("def fn():\n    return 1\n")
    monkeypatch.syspath_prepend(tmp_path / place)
    monkeypatch.delitem(sys.modules, "others", raising=False)
    others: Any = __import__("others")
    assert load_program(Program.of(others.fn, (), {})) is others.fn


def test_cloudpickle_is_restored(tiling: Any) -> None:  # noqa: ANN401
    kept = sys.modules["tiling.scales"]
    cloudpickle.register_pickle_by_value(kept)
    try:
        Program.of(tiling.halve, (), {})
        with pytest.raises(ProgramError):
            Program.of(tiling.halve, (LOCK,), {})
        assert cloudpickle.list_registry_pickle_by_value() == {"tiling.scales"}
    finally:
        cloudpickle.unregister_pickle_by_value(kept)
    assert cloudpickle.list_registry_pickle_by_value() == set()


def test_threads_can_pickle_concurrently(
    tiling: Any,  # noqa: ANN401
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The second thread starts while the first pickles, and pickles after the first has restored cloudpickle."""
    second_came, first_left = threading.Event(), threading.Event()
    lock, encode = pickler._registry, codec.encode  # noqa: SLF001 - to see who comes to it
    second: list[Future[Program]] = []

    class Door:
        def __enter__(self) -> None:
            if second:
                second_came.set()
            lock.acquire()

        def __exit__(self, *_: object) -> None:
            lock.release()

    def encode_slowly(obj: object, **options: Any) -> list[codec.Buffer]:  # noqa: ANN401 - passed on
        if second:
            second_came.set()
            assert first_left.wait(10)
        else:
            second.append(Future())
            second[0] = pool.submit(Program.of, tiling.halve, (), {})
            assert second_came.wait(10)
        return encode(obj, **options)

    monkeypatch.setattr(pickler, "_registry", Door())
    monkeypatch.setattr(codec, "encode", encode_slowly)
    with ThreadPoolExecutor(1) as pool:
        first = Program.of(tiling.halve, (), {})
        first_left.set()
    for program in (first, second[0].result()):
        assert load_program(program) is not tiling.halve, "by value"


def close_over(part: object) -> Callable[[], object]:
    return lambda: part


def close_over_part(part: object) -> Callable[[], object]:
    if part is None:
        absent = part
    return lambda: (absent, part)


@dataclass(slots=True, kw_only=True)
class LockHolder:
    lock: object


def use_global() -> object:
    return LOCK


@pytest.mark.parametrize(
    ("fn", "args", "kwargs", "reported"),
    [
        (close_over(LOCK), (), {}, "function closes over 'part', which (a lock) can't be pickled"),
        (close_over({"a": [0, LOCK]}), (), {}, "function closes over 'part', which['a'][1] (a lock) can't"),
        (close_over_part(LOCK), (), {}, "function closes over 'part', which (a lock) can't"),
        (use_global, (), {}, "function uses the global 'LOCK', which (a lock) can't be pickled"),
        (len, (1, LOCK), {}, "argument 1 (a lock) can't be pickled"),
        (len, ({"a": (0, LOCK)},), {}, "argument 0['a'][1] (a lock) can't be pickled"),
        (len, (SimpleNamespace(x=1, inner=SimpleNamespace(lock=LOCK)),), {}, "argument 0.inner.lock (a lock) can't"),
        (len, (functools.partial(print, 7, LOCK),), {}, "argument 0[2] (a lock) can't be pickled"),
        (len, (functools.partial(sorted, key=LOCK),), {}, "argument 0[1]['key'] (a lock) can't be pickled"),
        (len, (LockHolder(lock=LOCK),), {}, "argument 0.lock (a lock) can't be pickled"),
        (len, (1,), {"lock": LOCK}, "lock (a lock) can't be pickled"),
        (functools.partial(close_over(LOCK)), (), {}, "function[0] closes over 'part', which (a lock) can't"),
    ],
)
def test_value_that_can_not_be_pickled_is_named(
    fn: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object], reported: str
) -> None:
    with pytest.raises(ProgramError) as caught:
        Program.of(fn, args, kwargs)
    assert f"can't be sent to workers: {reported}" in str(caught.value)
    assert "cannot pickle '_thread.lock' object" in str(caught.value)
    assert caught.value.__cause__ is not None


def test_search_for_the_value_is_limited_in_depth() -> None:
    nested: object = LOCK
    for _ in range(50):
        nested = [nested]
    with pytest.raises(ProgramError, match=r"argument 0(\[0\]){6} \(a list\) can't be pickled"):
        Program.of(len, (nested,), {})


def test_arguments_of_a_tile_are_sent() -> None:
    assert codec.decode(encode_arguments((1, "a"), {"b": [2]})) == ((1, "a"), {"b": [2]}, None)


def test_argument_of_a_user_class_is_sent_by_value(folder: Path, compute: Compute) -> None:
    assert folder
    assert compute(Program.of(operator.attrgetter("share"), (), {}), __import__("beside").Half()) == "0.5"


@pytest.mark.parametrize(
    ("args", "kwargs", "reported"),
    [((0, [LOCK]), {}, "argument 1[0] (a lock)"), ((0,), {"block": {"x": LOCK}}, "block['x'] (a lock)")],
)
def test_argument_that_can_not_be_pickled_is_named(
    args: tuple[object, ...], kwargs: dict[str, object], reported: str
) -> None:
    with pytest.raises(ProgramError) as caught:
        encode_arguments(args, kwargs)
    assert str(caught.value).startswith(f"a tile can't be sent to workers: {reported} can't be pickled")


def test_a_function_passed_again_is_not_pickled_again() -> None:
    cache = ProgramCache()
    fn = close_over({"value": 1})
    assert cache.program(fn) is cache.program(fn)


def test_function_with_changed_references_is_pickled_again() -> None:
    """This includes globals, closures and defaults, also of the user's other functions, and small objects."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(CHANGING, namespace)  # noqa: S102 - as a script runs
    cache = ProgramCache()
    fn = namespace["fn"]
    for change in CHANGES:
        before = load_program(cache.program(fn))()
        exec(change, namespace)  # noqa: S102 - as a script runs
        after = load_program(cache.program(fn))()
        assert after == fn() != before, change
        assert cache.program(fn) is cache.program(fn)


def test_large_object_changed_in_place_is_not_sent_again() -> None:
    cache = ProgramCache()
    table = np.zeros(1000)
    fn = close_over(table)
    program = cache.program(fn)
    table[:] = 1
    assert cache.program(fn) is program


def test_recursive_function_is_not_kept_alive() -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec("def fn(n):\n    return n and fn(n - 1)\n", namespace)  # noqa: S102 - as a script runs
    cache = ProgramCache()
    cache.program(namespace["fn"])
    gone = weakref.ref(namespace.pop("fn"))
    gc.collect()
    assert gone() is None


def test_program_has_the_process_state_of_its_creation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCENE", "one")
    kept = state(Program.of(json.dumps, (), {}))
    assert kept == ProcessState.capture()
    assert (kept.folder, dict(kept.environment)["SCENE"]) == (str(tmp_path), "one")


def test_function_passed_again_has_the_current_process_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = ProgramCache()
    fn = close_over(1)
    before = cache.program(fn)
    monkeypatch.chdir(tmp_path)
    moved = cache.program(fn)
    monkeypatch.setenv("SCENE", "two")
    changed = cache.program(fn)
    assert len({before.digest, moved.digest, changed.digest}) == 3
    assert state(moved).folder == state(changed).folder == str(tmp_path)
    assert cache.program(fn) is changed


def test_functions_are_distinguished_by_identity() -> None:
    cache = ProgramCache()
    one, other = close_over(1), close_over(2)
    assert load_program(cache.program(one))() == 1
    assert load_program(cache.program(other))() == 2
    assert load_program(cache.program(one))() == 1


def test_methods_are_pickled_each_time() -> None:
    cache = ProgramCache()
    holder = Holder()
    for method in (holder.items.count, holder.count):
        before = load_program(cache.program(method))(1)
        holder.items.append(1)
        assert load_program(cache.program(method))(1) == before + 1


def test_the_cache_keeps_no_function_alive() -> None:
    cache = ProgramCache()
    fn = close_over(1)
    cache.program(fn)
    gone = weakref.ref(fn)
    del fn
    gc.collect()
    assert gone() is None


def test_new_function_at_the_address_of_an_old_one_is_not_confused() -> None:
    cache = ProgramCache()
    for value in range(5):
        assert load_program(cache.program(close_over(value)))() == value


def test_callable_without_weak_references_is_sent() -> None:
    cache = ProgramCache()
    fn = Slotted()
    assert load_program(cache.program(fn))() == 1
    assert cache.program(fn) == cache.program(fn)


def test_function_that_can_not_be_pickled_is_not_cached() -> None:
    cache = ProgramCache()
    held: list[object] = [LOCK]
    fn = close_over(held)
    with pytest.raises(ProgramError):
        cache.program(fn)
    held.clear()
    assert load_program(cache.program(fn))() == []


def test_program_does_not_change_when_an_instance_of_its_class_is_pickled_first(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from asyncbatch.main.program import Program\n"
        "class Table:\n    factor = 1\n"
        "def use(table: Table):\n    return table.factor\n"
        "table = Table()\n"
        "print(len({Program.of(map, (use, table), {}).digest for _ in range(3)}))\n"
    )
    found = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert found.stdout == "1\n"

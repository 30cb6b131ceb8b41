"""Tests that objects defined in a script work on workers. Each row is a script and the result of its ``fn``."""

import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any, Final

import pytest

from asyncbatch import BatchExecutor

TABLE: Final[dict[str, tuple[str, str]]] = {
    "functions and classes it refers to": (
        """
        def helper(value): return Base(value).get()
        class Base:
            def __init__(self, value): self.value = value
            def get(self): return self.value + OFFSET
        OFFSET = 1
        def fn(): return helper(1)
        """,
        "2",
    ),
    "functions that refer to each other": (
        """
        def even(n): return n == 0 or odd(n - 1)
        def odd(n): return n != 0 and even(n - 1)
        def fn(): return even(10)
        """,
        "True",
    ),
    "globals that a function sets": (
        """
        count = 0
        def increase():
            global count
            count += 1
        def fn():
            before = count
            increase(); increase()
            return count - before
        """,
        "2",
    ),
    "a dataclass": (
        """
        import dataclasses
        @dataclasses.dataclass(order=True)
        class Item:
            value: int
            parts: list = dataclasses.field(default_factory=list)
            name: str = dataclasses.field(default="a", kw_only=True)
        @dataclasses.dataclass(frozen=True, slots=True)
        class Frozen:
            value: int
        def fn():
            try:
                Frozen(1).value = 2
            except dataclasses.FrozenInstanceError:
                item = dataclasses.replace(Item(1), value=2)
                names = [field.name for field in dataclasses.fields(Item)]
                return dataclasses.asdict(item), names, Item(1) < item, Frozen(3)
        """,
        "({'value': 2, 'parts': [], 'name': 'a'}, ['value', 'parts', 'name'], True, Frozen(value=3))",
    ),
    "a class that derives from a dataclass": (
        """
        import dataclasses
        @dataclasses.dataclass
        class Item:
            value: int
        def fn():
            @dataclasses.dataclass
            class More(Item):
                other: int
            return dataclasses.astuple(More(1, 2))
        """,
        "(1, 2)",
    ),
    "enums": (
        """
        import enum
        class Kind(enum.Enum):
            ONE = 1
            TWO = 2
            def double(self): return self.value * 2
        class Mask(enum.IntFlag):
            A = 1
            B = 2
        def fn(kind=Kind.ONE): return kind is Kind.ONE, Kind(2).double(), Kind["TWO"].name, (Mask.A | Mask.B).value
        """,
        "(True, 4, 'TWO', 3)",
    ),
    "abstract base classes": (
        """
        import abc
        class Shape(abc.ABC):
            @abc.abstractmethod
            def area(self): ...
        class Square(Shape):
            def area(self): return 4
        @Shape.register
        class Other: pass
        def fn():
            try:
                Shape()
            except TypeError:
                return Square().area(), isinstance(Square(), Shape), issubclass(Other, Shape)
        """,
        "(4, True, True)",
    ),
    "functions with a cache": (
        """
        import functools
        @functools.lru_cache(maxsize=50)
        def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)
        class Table:
            @functools.cache
            def get(self, n): return n + 1
        def fn():
            info = fib(30), fib.cache_info().currsize
            return info, fib.cache_parameters()["maxsize"], fib.__name__, Table().get(1)
        """,
        "((832040, 31), 50, 'fib', 2)",
    ),
    "a function with a cache, submitted": (
        """
        import functools
        @functools.cache
        def fn(): return fn.__qualname__
        """,
        "'fn'",
    ),
    "cached properties": (
        """
        import functools
        class Item:
            @functools.cached_property
            def size(self):
                "The size."
                return object()
            @property
            def same(self): return self.size is self.size
        def fn(): return Item().same, Item.size.__doc__
        """,
        "(True, 'The size.')",
    ),
    "partials": (
        """
        import functools
        def add(a, b, c=0): return a + b + c
        fn = functools.partial(functools.partial(add, 1), 2, c=3)
        """,
        "6",
    ),
    "bound methods": (
        """
        class Item:
            def __init__(self): self.value = 3
            def get(self): return self.value
        fn = Item().get
        """,
        "3",
    ),
    "class methods and static methods": (
        """
        class Item:
            count = 2
            @classmethod
            def make(cls): return cls.count + cls.plain()
            @staticmethod
            def plain(): return 1
        fn = Item.make
        """,
        "3",
    ),
    "callable objects": ("class Call:\n    def __call__(self): return type(self).__name__\nfn = Call()", "'Call'"),
    "nested lambdas": ("fn = (lambda a: lambda: (lambda b: [a + b + c for c in (1, 2)])(10))(100)", "[111, 112]"),
    "decorated functions": (
        """
        import functools
        def twice(fn):
            @functools.wraps(fn)
            def inner(): return fn() * 2
            return inner
        @twice
        def value(): return 3
        def fn(): return value(), value.__wrapped__(), value.__name__
        """,
        "(6, 3, 'value')",
    ),
    "functions chosen by type": (
        """
        import functools
        @functools.singledispatch
        def kind(value): return "other"
        @kind.register
        def _(value: int): return "int"
        class Item:
            @functools.singledispatchmethod
            def kind(self, value): return "other"
            @kind.register
            def _(self, value: int): return "int"
        def fn(): return kind(1), kind(""), Item().kind(1)
        """,
        "('int', 'other', 'int')",
    ),
    "classes that use super": (
        """
        class Base:
            made = []
            def __init_subclass__(cls, **more): cls.more = more
            def name(self): return "base"
        class Derived(Base, size=1):
            __slots__ = ("value",)
            def name(self): return "derived of " + super().name()
        def fn(): return Derived().name(), Derived.more, Derived.__mro__[1] is Base
        """,
        "('derived of base', {'size': 1}, True)",
    ),
    "a metaclass": (
        """
        class Meta(type):
            def __len__(cls): return 7
        class Item(metaclass=Meta): pass
        def fn(): return len(Item)
        """,
        "7",
    ),
    "named tuples and types": (
        """
        from typing import Generic, NamedTuple, Protocol, TypedDict, TypeVar, runtime_checkable
        T = TypeVar("T")
        class Pair(NamedTuple):
            a: int
            b: int = 2
        class Box(Generic[T]):
            def __init__(self, value: T): self.value = value
        class Options(TypedDict, total=False):
            a: int
        @runtime_checkable
        class HasValue(Protocol):
            value: int
        def fn(): return Pair(1), Box[int](3).value, Options(a=1), isinstance(Box(1), HasValue)
        """,
        "(Pair(a=1, b=2), 3, {'a': 1}, True)",
    ),
    "generators, coroutines and context managers": (
        """
        import asyncio, contextlib
        def items(): yield from (1, 2)
        async def later(): return 3
        @contextlib.contextmanager
        def opened(): yield 4
        def fn():
            with opened() as value:
                return [*items(), asyncio.run(later()), value]
        """,
        "[1, 2, 3, 4]",
    ),
    "loggers, patterns, paths, arrays": (
        """
        import logging, re
        from pathlib import Path
        import numpy as np
        log, pattern, path, array = logging.getLogger(__name__), re.compile("a+"), Path("a"), np.arange(3)
        def fn(): return log.name, pattern.match("aab").end(), str(path / "b"), int(array.sum())
        """,
        "('__main__', 2, 'a/b', 3)",
    ),
    "an exception's class": (
        """
        class Bad(ValueError):
            def __init__(self, a, b):
                super().__init__(a)
        def fail(): raise Bad(1, 2)
        def fn():
            try:
                fail()
            except Bad as error:
                return error.args
        """,
        "(1,)",
    ),
}


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Return a function that runs a text as this process's main script."""
    file = tmp_path / "script.py"
    module = ModuleType("__main__")
    module.__file__ = str(file)
    monkeypatch.setitem(sys.modules, "__main__", module)

    def run(text: str) -> ModuleType:
        exec(compile(dedent(text), file, "exec"), vars(module))  # noqa: S102 - as Python runs a script
        return module

    return run


@pytest.mark.parametrize("row", TABLE)
def test_objects_of_a_script_work_on_workers(pool: BatchExecutor, script: Callable[[str], Any], row: str) -> None:
    text, result = TABLE[row]
    main = script(text)
    assert repr(main.fn()) == result, "in main"
    assert repr(pool.submit(main.fn).result(timeout=60)) == result
    assert repr(pool.submit(call, main.fn).result(timeout=60)) == result, "as an argument"


def call(fn: Callable[[], object]) -> object:
    return fn()


def test_results_are_instances_of_main_s_own_classes(pool: BatchExecutor, script: Callable[[str], Any]) -> None:
    main = script(
        """
        import dataclasses, enum
        class Kind(enum.Enum):
            ONE = 1
        @dataclasses.dataclass
        class Item:
            kind: Kind
        class Bad(Exception):
            def __init__(self, item, other):
                super().__init__("bad")
                self.item = item
        def fn(item):
            assert isinstance(item, Item) and item.kind is Kind.ONE
            return Item(item.kind)
        def fail(item): raise Bad(item, 1)
        def offset(): return OFFSET
        Item.offset = lambda self: OFFSET
        OFFSET = 1
        """
    )
    item = main.Item(main.Kind.ONE)
    back = pool.submit(main.fn, item).result(timeout=60)
    assert type(back) is main.Item
    assert back.kind is main.Kind.ONE
    error: Any = pool.submit(main.fail, item).exception(timeout=60)
    assert type(error.__cause__) is main.Bad
    assert error.__cause__.item == item
    main.OFFSET = 2
    assert back.offset() == item.offset() == 2, "the class is main's own, and results did not replace its methods"
    assert pool.submit(lambda: (main.Item, main.offset)).result(timeout=60) == (main.Item, main.offset)


def test_functions_have_the_globals_of_their_submission(pool: BatchExecutor, script: Callable[[str], Any]) -> None:
    main = script("OFFSET = 1\ndef inner(): return OFFSET\ndef fn(): return OFFSET, inner()\n")
    futures = []
    for offset in (1, 2, 3):
        main.OFFSET = offset
        futures.append(pool.submit(main.fn))
    assert [future.result(timeout=60) for future in futures] == [(1, 1), (2, 2), (3, 3)]

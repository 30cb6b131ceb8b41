"""What goes wrong in a run, drawn from a seed: pure. A seed and a number of tiles say all there is to replay."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Final, Literal

Kind = Literal[
    # requests
    "refuse",
    "reset",
    "lose answer",
    "hang",
    "slow",
    "corrupt",
    "truncate",
    "double",
    "hide",
    "drop",
    "refuse entries",
    # workers
    "kill",
    "terminate",
    "freeze",
    "kill slot",
    "fill worker's disk",
    # main, and the account
    "kill main",
    "fill main's disk",
    "freeze main",
    "outage",
    "expire credentials",
    "forge",
    "delete queue",
    "delete objects",
]

Step = Literal["received", "fetched", "computing", "stored", "announced", "acking"]
"""Where a worker stands with a tile, in their order."""

STEPS: Final[tuple[Step, ...]] = ("received", "fetched", "computing", "stored", "announced", "acking")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mishap:
    """Something that goes wrong. What does not matter to its kind is left as it is."""

    kind: Kind
    operation: str = ""
    """Which requests: ``service:Operation``."""
    about: str = ""
    """What the queue's name or the object's key contains; of an account's mishaps, what is deleted or forged."""
    step: Step = "computing"
    """Of a worker."""
    after: int = 0
    """Requests, steps, or files and results written to a disk, that go well before."""
    times: int = 1
    code: str = ""
    """The error code of a refusal."""
    at: float = 0.0
    """Seconds from the opening of the run, of an account's mishaps."""
    seconds: float = 0.0
    """For how long it lasts; of a main that is killed, until it is started again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A run and all that goes wrong in it."""

    seed: int
    tiles: int
    workers: int = 2
    slots: int = 1
    latency: float = 0.01
    """Seconds that a request takes."""
    durations: tuple[float, ...] = (1.0,)
    """Seconds that tiles take, in turn."""
    large: int = 3
    """Each so many tiles, one is too large for a message."""
    failing: int | None = None
    """The tile whose function raises."""
    poison: int | None = None
    """The tile that kills each worker that computes it."""
    max_attempts: int = 2
    mishaps: tuple[Mishap, ...] = ()

    @property
    def resumes(self) -> bool:
        """Whether main stores its results, to take them up again after it was killed."""
        return any(mishap.kind in RESUMED for mishap in self.mishaps)

    def count(self, kind: Kind) -> int:
        """Return how many mishaps of a kind there are."""
        return sum(mishap.kind == kind for mishap in self.mishaps)

    def without(self, place: int) -> "Schedule":
        """Return the schedule without one of its mishaps."""
        return replace(self, mishaps=self.mishaps[:place] + self.mishaps[place + 1 :])


RESUMED: Final[frozenset[Kind]] = frozenset({"kill main", "fill main's disk"})
"""Kinds of mishaps of a main that stores its results."""

_SQS: Final = (
    ("sqs:SendMessageBatch", "-task"),
    ("sqs:SendMessageBatch", "-result"),
    ("sqs:ReceiveMessage", "-task"),
    ("sqs:ReceiveMessage", "-result"),
    ("sqs:DeleteMessageBatch", "-task"),
    ("sqs:DeleteMessageBatch", "-result"),
    ("sqs:ChangeMessageVisibilityBatch", ""),
    ("sqs:CreateQueue", ""),
    ("sqs:DeleteQueue", ""),
    ("sqs:GetQueueAttributes", ""),
)
_S3: Final = (
    ("s3:PutObject", "/in/"),
    ("s3:PutObject", "/out/"),
    ("s3:PutObject", "/alive"),
    ("s3:PutObject", "/manifest"),
    ("s3:PutObject", "programs/"),
    ("s3:GetObject", "/in/"),
    ("s3:GetObject", "/out/"),
    ("s3:GetObject", "/manifest"),
    ("s3:GetObject", "programs/"),
    ("s3:HeadObject", "/alive"),
    ("s3:HeadObject", "programs/"),
    ("s3:DeleteObjects", ""),
    ("s3:ListObjectsV2", ""),
)
_BATCH: Final = (
    ("batch:SubmitJob", ""),
    ("batch:DescribeJobs", ""),
    ("batch:ListJobs", ""),
    ("batch:TerminateJob", ""),
)
REQUESTS: Final = (*_SQS, *_S3, *_BATCH)
"""Requests that a run bears the failure of."""

CODES: Final = {
    "sqs": (
        "ThrottlingException",
        "RequestThrottled",
        "AWS.SimpleQueueService.RequestThrottled",
        "KmsThrottled",
        "OverLimit",
        "ServiceUnavailable",
        "InternalError",
        "InternalFailure",
        "500",
        "503",
        "429",
    ),
    "s3": (
        "SlowDown",
        "RequestLimitExceeded",
        "InternalError",
        "ServiceUnavailable",
        "RequestTimeout",
        "500",
        "502",
        "503",
    ),
    "batch": ("TooManyRequestsException", "ThrottlingException", "Throttling", "RequestLimitExceeded", "500", "504"),
}
"""How services say that they have too much to do, or have failed."""


def draw(seed: int, tiles: int | None = None) -> Schedule:
    """Return the schedule of a seed, for a number of tiles that the seed names too unless it is given."""
    random = Random(seed)  # noqa: S311 - to be the same each time
    count = random.choice((1, 4, 8, 12, 20)) if tiles is None else tiles
    drawn = tuple(_draw_mishap(random) for _ in range(random.choice((0, 1, 1, 2, 2, 3, 4, 6))))
    odd = random.random()
    schedule = Schedule(
        seed=seed,
        tiles=count,
        workers=random.choice((1, 2, 2, 3)),
        slots=random.choice((1, 1, 2)),
        latency=random.choice((0.0, 0.01, 0.05)),
        durations=tuple(random.choice((0.0, 0.1, 2.0, 12.0, 40.0)) for _ in range(random.randint(1, 3))),
        large=random.choice((1, 2, 3)),
        failing=random.randrange(count) if odd < 0.1 else None,
        poison=random.randrange(count) if odd > 0.9 else None,
        max_attempts=2 + sum(map(_count_attempts, drawn)),
        mishaps=drawn,
    )
    # Drawn last, so that all else in a seed stays as it was before there were these.
    late = tuple(_LATE[random.choice(list(_LATE))](random) for _ in range(random.choice((0, 0, 0, 1, 1, 2))))
    whole = replace(schedule, mishaps=drawn + late)
    # In a run that is resumed, tiles have other numbers.
    return replace(whole, poison=None) if whole.resumes else whole


CHARGED: Final[frozenset[Kind]] = frozenset(
    {
        "kill",
        "terminate",
        "freeze",
        "kill slot",
        "hang",
        "freeze main",
        "outage",
        "expire credentials",
        "refuse entries",
        "reset",
        "refuse",
    }
)
"""Kinds of mishaps that may cost a tile an attempt each time."""


def _count_attempts(mishap: Mishap) -> int:
    """Return how many attempts a mishap may cost a tile, beyond the one that deliveries cost with which none began.

    A result that is lost costs the attempt that brought it; a count that arrives damaged may be one higher.
    """
    loses_result = mishap.kind in {"drop", "corrupt"} and mishap.about in {"-result", "/out/"}
    charged = mishap.kind in CHARGED or loses_result
    return mishap.times if charged and (mishap.kind, mishap.step) != ("kill", "received") else 0


def _draw_mishap(random: Random) -> Mishap:
    kinds = (*_DRAWS, *_OFTEN)
    return _DRAWS[random.choice(kinds)](random)


def _draw_request(kind: Kind) -> Callable[[Random], Mishap]:
    def make(random: Random) -> Mishap:
        operation, about = random.choice(REQUESTS)
        return Mishap(
            kind=kind,
            operation=operation,
            about=about,
            after=_draw_after(random),
            times=random.choice((1, 1, 2)) if kind == "hang" else random.choice((1, 1, 2, 3)),
            code=random.choice(CODES[operation.partition(":")[0]]) if kind == "refuse" else "",
            seconds=random.choice((1.0, 5.0, 12.0)) if kind == "slow" else 0.0,
        )

    return make


def _draw_body(kind: Kind) -> Callable[[Random], Mishap]:
    def make(random: Random) -> Mishap:
        about = random.choice(("/in/", "/out/", "programs/"))
        return Mishap(
            kind=kind, operation="s3:GetObject", about=about, after=_draw_after(random), times=random.choice((1, 2, 3))
        )

    return make


def _draw_corruption(random: Random) -> Mishap:
    if random.random() < 0.5:
        return _draw_body("corrupt")(random)
    about = random.choice(("-task", "-result"))
    return Mishap(kind="corrupt", operation="sqs:ReceiveMessage", about=about, after=_draw_after(random))


def _draw_sending(kind: Kind) -> Callable[[Random], Mishap]:
    def make(random: Random) -> Mishap:
        return Mishap(
            kind=kind,
            operation="sqs:SendMessageBatch",
            about=random.choice(("-task", "-result")),
            after=_draw_after(random),
            times=1 if kind == "drop" else random.choice((1, 3, 10)),
            seconds=random.choice((1.0, 5.0, 20.0)) if kind == "hide" else 0.0,
        )

    return make


def _draw_entries(random: Random) -> Mishap:
    operation, about = random.choice([found for found in _SQS if found[0].endswith("Batch")])
    return Mishap(
        kind="refuse entries",
        operation=operation,
        about=about,
        after=_draw_after(random),
        times=random.choice((1, 3)),
        code=random.choice(("InternalError", "ReceiptHandleIsInvalid" if "Send" not in operation else "InternalError")),
    )


def _draw_worker(kind: Kind) -> Callable[[Random], Mishap]:
    def make(random: Random) -> Mishap:
        seconds = random.choice((5.0, 45.0, 100.0, 200.0)) if kind == "freeze" else 0.0
        step = random.choice(("received", *STEPS))
        if (kind, step) == ("kill", "received"):  # again and again, before anything begins
            return Mishap(kind=kind, step=step, after=random.randrange(3), times=random.choice((1, 4, 4)))
        return Mishap(kind=kind, step=step, after=random.randrange(6), seconds=seconds)

    return make


def _draw_time(kind: Kind, *lasting: float, about: tuple[str, ...] = ("",)) -> Callable[[Random], Mishap]:
    def make(random: Random) -> Mishap:
        at = random.choice((0.5, 3.0, 10.0, 25.0))
        return Mishap(kind=kind, at=at, seconds=random.choice(lasting or (0.0,)), about=random.choice(about))

    return make


def _draw_disk(kind: Kind, *times: int) -> Callable[[Random], Mishap]:
    return lambda random: Mishap(kind=kind, after=random.choice((0, 1, 2, 5)), times=random.choice(times))


def _draw_after(random: Random) -> int:
    return random.choice((0, 0, 1, 2, 4, 8))


_DRAWS: Final[dict[Kind, Callable[[Random], Mishap]]] = {
    "refuse": _draw_request("refuse"),
    "reset": _draw_request("reset"),
    "lose answer": _draw_request("lose answer"),
    "hang": _draw_request("hang"),
    "slow": _draw_request("slow"),
    "corrupt": _draw_corruption,
    "truncate": _draw_body("truncate"),
    "double": _draw_sending("double"),
    "hide": _draw_sending("hide"),
    "drop": _draw_sending("drop"),
    "refuse entries": _draw_entries,
    "kill": _draw_worker("kill"),
    "terminate": _draw_worker("terminate"),
    "freeze": _draw_worker("freeze"),
    "kill slot": lambda random: Mishap(kind="kill slot", after=random.randrange(10)),
    "freeze main": _draw_time("freeze main", 5.0, 45.0, 200.0),
    "outage": _draw_time("outage", 5.0, 30.0, 90.0),
    "expire credentials": _draw_time("expire credentials", 5.0, 60.0, 200.0),
    "forge": _draw_time("forge", about=("-task", "-result")),
    "delete queue": _draw_time("delete queue", about=("-task", "-result")),
    "delete objects": _draw_time("delete objects", about=("/in/", "/out/", "/alive", "/manifest", "programs/")),
}
_LATE: Final[dict[Kind, Callable[[Random], Mishap]]] = {
    "kill main": _draw_time("kill main", 0.0, 10.0, 200.0),
    "fill main's disk": _draw_disk("fill main's disk", 1, 100),
    "fill worker's disk": _draw_disk("fill worker's disk", 1, 2, 4),
}
_OFTEN: Final[tuple[Kind, ...]] = ("refuse", "lose answer", "lose answer", "hang", "kill", "kill", "freeze")

"""The incidents of a run, drawn from a seed. A seed and a number of tiles determine a schedule. Does no I/O."""

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
"""The steps of a worker with a tile, in order."""

STEPS: Final[tuple[Step, ...]] = ("received", "fetched", "computing", "stored", "announced", "acking")


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """A scheduled problem. Fields that its kind does not use have their defaults."""

    kind: Kind
    operation: str = ""
    """The affected requests: ``service:Operation``."""
    about: str = ""
    """Text in the queue's name or the object's key; for incidents of the account, what is deleted or forged."""
    step: Step = "computing"
    """The step of a worker."""
    after: int = 0
    """Number of requests, steps, or writes to a disk that succeed first."""
    times: int = 1
    code: str = ""
    """Error code of a rejection."""
    at: float = 0.0
    """For incidents of the account: seconds after the run was opened."""
    seconds: float = 0.0
    """Its duration; for a killed main, the time until it is restarted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A run and its incidents."""

    seed: int
    tiles: int
    workers: int = 2
    slots: int = 1
    latency: float = 0.01
    """Duration of a request in seconds."""
    durations: tuple[float, ...] = (1.0,)
    """Durations of tiles in seconds, used in turn."""
    large: int = 3
    """One of this many tiles is too large for a message."""
    failing: int | None = None
    """The tile whose function raises an error."""
    poison: int | None = None
    """The tile that kills each worker that computes it."""
    max_attempts: int = 2
    group: int = 1
    """Maximum number of tiles in a group."""
    incidents: tuple[Incident, ...] = ()

    @property
    def resumes(self) -> bool:
        """Whether main stores its results, to resume after it was killed."""
        return any(incident.kind in RESUMED for incident in self.incidents)

    def count(self, kind: Kind) -> int:
        """Return the number of incidents of a kind."""
        return sum(incident.kind == kind for incident in self.incidents)

    def without(self, place: int) -> "Schedule":
        """Return the schedule without one of its incidents."""
        return replace(self, incidents=self.incidents[:place] + self.incidents[place + 1 :])


RESUMED: Final[frozenset[Kind]] = frozenset({"kill main", "fill main's disk"})
"""Kinds of incidents of a main that stores its results."""

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
"""Requests whose failure a run survives."""

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
"""Error codes with which services throttle requests or fail."""


def draw(seed: int, tiles: int | None = None) -> Schedule:
    """Return the schedule of a seed, which also determines the number of tiles unless it is given."""
    random = Random(seed)  # noqa: S311 - to be the same each time
    count = random.choice((1, 4, 8, 12, 20)) if tiles is None else tiles
    drawn = tuple(_draw_incident(random) for _ in range(random.choice((0, 1, 1, 2, 2, 3, 4, 6))))
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
        incidents=drawn,
    )
    # Drawn last, so that existing seeds keep their other incidents.
    late = tuple(_LATE[random.choice(list(_LATE))](random) for _ in range(random.choice((0, 0, 0, 1, 1, 2))))
    whole = replace(schedule, incidents=drawn + late, group=random.choice((1, 1, 4)))
    if whole.resumes:  # tiles have other numbers then
        return replace(whole, poison=None)
    if whole.poison is not None and whole.slots > 1:  # another slot may compute at the poison's first two attempts
        return replace(whole, max_attempts=whole.max_attempts + 1)
    return whole


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
"""Kinds of incidents that may cost a tile an attempt each time."""


def _count_attempts(incident: Incident) -> int:
    """Return how many attempts an incident may cost a tile, in addition to the one for deliveries without a started
    attempt.

    A result that is lost costs the attempt that brought it; a count that arrives damaged may be one higher.
    """
    loses_result = incident.kind in {"drop", "corrupt"} and incident.about in {"-result", "/out/"}
    charged = incident.kind in CHARGED or loses_result
    return incident.times if charged and (incident.kind, incident.step) != ("kill", "received") else 0


def _draw_incident(random: Random) -> Incident:
    kinds = (*_DRAWS, *_OFTEN)
    return _DRAWS[random.choice(kinds)](random)


def _draw_request(kind: Kind) -> Callable[[Random], Incident]:
    def make(random: Random) -> Incident:
        operation, about = random.choice(REQUESTS)
        return Incident(
            kind=kind,
            operation=operation,
            about=about,
            after=_draw_after(random),
            times=random.choice((1, 1, 2)) if kind == "hang" else random.choice((1, 1, 2, 3)),
            code=random.choice(CODES[operation.partition(":")[0]]) if kind == "refuse" else "",
            seconds=random.choice((1.0, 5.0, 12.0)) if kind == "slow" else 0.0,
        )

    return make


def _draw_body(kind: Kind) -> Callable[[Random], Incident]:
    def make(random: Random) -> Incident:
        about = random.choice(("/in/", "/out/", "programs/"))
        return Incident(
            kind=kind, operation="s3:GetObject", about=about, after=_draw_after(random), times=random.choice((1, 2, 3))
        )

    return make


def _draw_corruption(random: Random) -> Incident:
    if random.random() < 0.5:
        return _draw_body("corrupt")(random)
    about = random.choice(("-task", "-result"))
    return Incident(kind="corrupt", operation="sqs:ReceiveMessage", about=about, after=_draw_after(random))


def _draw_sending(kind: Kind) -> Callable[[Random], Incident]:
    def make(random: Random) -> Incident:
        return Incident(
            kind=kind,
            operation="sqs:SendMessageBatch",
            about=random.choice(("-task", "-result")),
            after=_draw_after(random),
            times=1 if kind == "drop" else random.choice((1, 3, 10)),
            seconds=random.choice((1.0, 5.0, 20.0)) if kind == "hide" else 0.0,
        )

    return make


def _draw_entries(random: Random) -> Incident:
    operation, about = random.choice([found for found in _SQS if found[0].endswith("Batch")])
    return Incident(
        kind="refuse entries",
        operation=operation,
        about=about,
        after=_draw_after(random),
        times=random.choice((1, 3)),
        code=random.choice(("InternalError", "ReceiptHandleIsInvalid" if "Send" not in operation else "InternalError")),
    )


def _draw_worker(kind: Kind) -> Callable[[Random], Incident]:
    def make(random: Random) -> Incident:
        seconds = random.choice((5.0, 45.0, 100.0, 200.0)) if kind == "freeze" else 0.0
        step = random.choice(("received", *STEPS))
        if (kind, step) == ("kill", "received"):  # repeatedly, before any tile starts
            return Incident(kind=kind, step=step, after=random.randrange(3), times=random.choice((1, 4, 4)))
        return Incident(kind=kind, step=step, after=random.randrange(6), seconds=seconds)

    return make


def _draw_time(kind: Kind, *lasting: float, about: tuple[str, ...] = ("",)) -> Callable[[Random], Incident]:
    def make(random: Random) -> Incident:
        at = random.choice((0.5, 3.0, 10.0, 25.0))
        return Incident(kind=kind, at=at, seconds=random.choice(lasting or (0.0,)), about=random.choice(about))

    return make


def _draw_disk(kind: Kind, *times: int) -> Callable[[Random], Incident]:
    return lambda random: Incident(kind=kind, after=random.choice((0, 1, 2, 5)), times=random.choice(times))


def _draw_after(random: Random) -> int:
    return random.choice((0, 0, 1, 2, 4, 8))


_DRAWS: Final[dict[Kind, Callable[[Random], Incident]]] = {
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
    "kill slot": lambda random: Incident(kind="kill slot", after=random.randrange(10)),
    "freeze main": _draw_time("freeze main", 5.0, 45.0, 200.0),
    "outage": _draw_time("outage", 5.0, 30.0, 90.0),
    "expire credentials": _draw_time("expire credentials", 5.0, 60.0, 200.0),
    "forge": _draw_time("forge", about=("-task", "-result")),
    "delete queue": _draw_time("delete queue", about=("-task", "-result")),
    "delete objects": _draw_time("delete objects", about=("/in/", "/out/", "/alive", "/manifest", "programs/")),
}
_LATE: Final[dict[Kind, Callable[[Random], Incident]]] = {
    "kill main": _draw_time("kill main", 0.0, 10.0, 200.0),
    "fill main's disk": _draw_disk("fill main's disk", 1, 100),
    "fill worker's disk": _draw_disk("fill worker's disk", 1, 2, 4),
}
_OFTEN: Final[tuple[Kind, ...]] = ("refuse", "lose answer", "lose answer", "hang", "kill", "kill", "freeze")

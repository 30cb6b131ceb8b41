"""A simulation of a spot market, AWS Batch and a run's workers, in time steps, to measure a supervisor's decisions.

The supervisor (`Supervisor`) and the accounting of attempts (`judge`) are those of the product. Machines, jobs, workers
and queues are modelled as AWS documents them, with durations that users report.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from asyncbatch.launchers.base import WorkerState
from asyncbatch.launchers.batch import MACHINE_END
from asyncbatch.main.supervisor import Supervisor
from asyncbatch.wire.messages import TERMINATED, Goodbye, Hello
from asyncbatch.worker.attempts import Verdict, judge

STEP: Final = 5.0
"""Seconds between two polls of the workers, and between two polls for a machine's notice."""
BOOT: Final = 180.0
"""Seconds from a job's submission to its start on a new machine."""
PULL: Final = 10.0
"""Seconds for a container to start on a running machine."""
IDLE: Final = 300.0


@dataclass(kw_only=True, eq=False)
class Machine:
    """A machine of the market."""

    ready: float
    places: int
    notice: float | None = None
    """Time when its reclaim is announced."""
    jobs: set[str] = field(default_factory=set)

    def is_noticed(self, now: float) -> bool:
        return self.notice is not None and now >= self.notice

    def is_gone(self, now: float) -> bool:
        return self.notice is not None and now >= self.notice + MACHINE_END


@dataclass(kw_only=True, eq=False)
class Job:
    """A job of Batch, and the worker in it."""

    id: str
    attempt: int = 1
    machine: Machine | None = None
    up_at: float = 0.0
    up: bool = False
    tile: int | None = None
    verdict: Verdict | None = None
    due: float = 0.0
    """Time when its tile is done, or without a tile, when its idle timeout ends."""

    @property
    def worker(self) -> str:
        return f"{self.id}.{self.attempt}" if self.attempt > 1 else self.id


@dataclass(kw_only=True)
class Market:
    """A run of tiles on machines that may be reclaimed."""

    wanted: int
    tiles: deque[tuple[int, float]]
    """Waiting tiles: their indices and durations in seconds."""
    places: int = 4
    """Number of workers on a machine."""
    most: int = 100
    """Maximum number of workers in the compute environment."""
    draining: bool = True
    """Whether ECS places no jobs on machines that will be reclaimed."""
    restarts: bool = False
    """Whether Batch restarts the job of a terminated worker."""
    max_attempts: int = 5
    vacating: float = MACHINE_END
    """Seconds before terminated workers are replaced."""
    reclaim: Callable[[Machine, float], float | None] = lambda _machine, _now: None
    """Returns when a new machine's reclaim is announced."""
    now: float = 0.0
    machines: list[Machine] = field(default_factory=list)
    jobs: dict[str, Job] = field(default_factory=dict)
    done: int = 0
    submissions: int = 0
    worker_seconds: float = 0.0
    begun: Counter[int] = field(default_factory=Counter)
    """Number of times that a tile was computed."""
    charged: dict[int, int] = field(default_factory=dict)
    """The highest number of an attempt at a tile."""
    lost: list[int] = field(default_factory=list)
    live: list[Job] = field(default_factory=list)
    """Jobs that have not ended."""
    _news: list[WorkerState] = field(default_factory=list)
    """Workers that have ended since the last poll."""
    _seconds: dict[int, float] = field(default_factory=dict)
    _deliveries: Counter[int] = field(default_factory=Counter)
    _counts: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.supervisor = Supervisor(wanted=self.wanted, start_timeout=900.0, vacating=self.vacating)
        self._seconds = dict(self.tiles)
        self._submit(self.wanted)

    @property
    def backlog(self) -> int:
        return len(self._seconds) - self.done

    @property
    def worker_hours(self) -> float:
        return self.worker_seconds / 3600

    @property
    def up(self) -> int:
        return sum(job.up for job in self.live)

    def add(self, tiles: Iterable[tuple[int, float]]) -> None:
        """Submit more tiles."""
        added = dict(tiles)
        self._seconds |= added
        self.tiles.extend(added.items())

    def finish(self, limit: float = 7 * 86_400.0) -> None:
        """Advance time until all tiles are done or lost."""
        while self.backlog and self.now < limit:
            self.step()

    def wait(self, seconds: float) -> None:
        """Advance time."""
        until = self.now + seconds
        while self.now < until:
            self.step()

    def step(self) -> None:
        """Advance time by one step."""
        self.now += STEP
        self._place()
        for job in list(self.live):
            if job.machine is not None:
                self.worker_seconds += STEP
                self._live(job)
        self.machines = [machine for machine in self.machines if not machine.is_gone(self.now)]
        missing = self._look()
        if missing > 0 and self.backlog:
            self._submit(missing)

    def _submit(self, count: int) -> None:
        for _ in range(count):
            job = Job(id=f"job:{len(self.jobs)}")
            self.jobs[job.id] = job
            self.live.append(job)
        self.submissions += bool(count)
        self.supervisor.note_started(count)

    def _look(self) -> int:
        states = [*self._news, *(WorkerState(worker=job.worker, alive=True) for job in self.live)]
        self._news.clear()
        return self.supervisor.count_missing(states, self.now, backlog=self.backlog)

    def _place(self) -> None:
        """Start waiting jobs, first on machines with free vCPUs, since starting new machines takes longer."""
        used = sum(job.machine is not None for job in self.live)
        for job in self.live:
            if job.machine is None and used < self.most:
                used += 1
                machine = self._find_machine()
                machine.jobs.add(job.id)
                job.machine, job.up_at = machine, max(self.now, machine.ready) + PULL

    def _find_machine(self) -> Machine:
        for machine in self.machines:
            shut = self.draining and machine.is_noticed(self.now)
            if len(machine.jobs) < machine.places and not shut:
                return machine
        machine = Machine(ready=self.now + BOOT, places=self.places)
        machine.notice = self.reclaim(machine, self.now)
        self.machines.append(machine)
        return machine

    def _live(self, job: Job) -> None:
        machine = job.machine
        assert machine is not None
        if not job.up:
            self._come_up(job, machine)
        elif machine.is_noticed(self.now):
            self._leave(job, TERMINATED)
        elif job.tile is not None and self.now >= job.due:
            self._end_tile(job)
        elif job.tile is None:
            self._take(job)

    def _come_up(self, job: Job, machine: Machine) -> None:
        if machine.is_gone(self.now):
            self._end(job)
        elif self.now >= job.up_at:
            job.up, job.due = True, self.now + IDLE
            self.supervisor.note_hello(Hello(worker=job.worker, slots=1, versions={}))
            self._begin(job, machine)

    def _begin(self, job: Job, machine: Machine) -> None:
        """Let a worker that is up poll for its machine's notice, and then for a tile."""
        if machine.is_noticed(self.now):
            self._leave(job, TERMINATED)
        else:
            self._take(job)

    def _take(self, job: Job) -> None:
        if not self.tiles:
            if self.now >= job.due:
                self._leave(job, "idle")
            return
        tile, seconds = self.tiles.popleft()
        self._deliveries[tile] += 1
        verdict = self._judge(tile)
        self.charged[tile] = max(self.charged.get(tile, 0), verdict.number)
        if verdict.lost:
            self.lost.append(tile)
            self.done += 1
            return
        if verdict.count is not None:
            self._counts[tile] = verdict.count
        self.begun[tile] += 1
        job.tile, job.verdict, job.due = tile, verdict, self.now + seconds

    def _judge(self, tile: int) -> Verdict:
        return judge(counted=self._counts.get(tile), deliveries=self._deliveries[tile], max_attempts=self.max_attempts)

    def _end_tile(self, job: Job) -> None:
        self.done += 1
        self.supervisor.note_progress()
        job.tile, job.due = None, self.now + IDLE
        self._take(job)

    def _leave(self, job: Job, reason: str) -> None:
        if job.tile is not None:
            assert job.verdict is not None
            self._withdraw(job.tile, job.verdict)
            self.tiles.append((job.tile, self._seconds[job.tile]))
            job.tile = None
        self.supervisor.note_goodbye(Goodbye(worker=job.worker, reason=reason, tiles=0, busy_seconds=0.0, requests={}))
        self._end(job, again=self.restarts and reason == TERMINATED)

    def _withdraw(self, tile: int, verdict: Verdict) -> None:
        if verdict.before is not None:
            self._counts[tile] = verdict.before

    def _end(self, job: Job, *, again: bool = False) -> None:
        assert job.machine is not None
        job.machine.jobs.discard(job.id)
        self._news.append(WorkerState(worker=job.worker, alive=False))
        if again:
            job.machine, job.up, job.attempt = None, False, job.attempt + 1
        else:
            self.live.remove(job)

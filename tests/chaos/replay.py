"""Reports a schedule that failed, and finds the smallest part of it that still fails."""

from collections.abc import Callable, Sequence
from dataclasses import fields

from tests.chaos.schedule import Incident, Schedule


def describe(schedule: Schedule, problems: Sequence[str]) -> str:
    """Describe the problems, and the command to repeat the run."""
    run = ", ".join(f"{name}={getattr(schedule, name)!r}" for name in _NAMES)
    lines = [
        *problems,
        f"repeat it with: just chaos {schedule.seed} {schedule.tiles}",
        f"Schedule({run}, incidents=(",
        *(f"    {_write(incident)}," for incident in schedule.incidents),
        "))",
    ]
    return "\n".join(lines)


def shrink(schedule: Schedule, is_wrong: Callable[[Schedule], bool]) -> Schedule:
    """Return the schedule without incidents that are not needed for a problem."""
    for place in reversed(range(len(schedule.incidents))):
        smaller = schedule.without(place)
        if is_wrong(smaller):
            schedule = smaller
    return schedule


_NAMES = [field.name for field in fields(Schedule) if field.name != "incidents"]


def _write(incident: Incident) -> str:
    """Return the code of an incident, without default values."""
    reported = ((field.name, getattr(incident, field.name), field.default) for field in fields(incident))
    return f"Incident({', '.join(f'{name}={value!r}' for name, value, default in reported if value != default)})"

"""Reports a schedule that failed, and finds the smallest part of it that still fails."""

from collections.abc import Callable, Sequence
from dataclasses import fields

from tests.chaos.schedule import Mishap, Schedule


def describe(schedule: Schedule, faults: Sequence[str]) -> str:
    """Return what is wrong, and how to play it again."""
    run = ", ".join(f"{name}={getattr(schedule, name)!r}" for name in _NAMES)
    lines = [
        *faults,
        f"play it again: just chaos {schedule.seed} {schedule.tiles}",
        f"Schedule({run}, mishaps=(",
        *(f"    {_write(mishap)}," for mishap in schedule.mishaps),
        "))",
    ]
    return "\n".join(lines)


def shrink(schedule: Schedule, is_wrong: Callable[[Schedule], bool]) -> Schedule:
    """Return the schedule without the mishaps that it goes wrong without."""
    for place in reversed(range(len(schedule.mishaps))):
        smaller = schedule.without(place)
        if is_wrong(smaller):
            schedule = smaller
    return schedule


_NAMES = [field.name for field in fields(Schedule) if field.name != "mishaps"]


def _write(mishap: Mishap) -> str:
    """Return what makes a mishap, without what is as it is anyway."""
    reported = ((field.name, getattr(mishap, field.name), field.default) for field in fields(mishap))
    return f"Mishap({', '.join(f'{name}={value!r}' for name, value, default in reported if value != default)})"

import pytest

from asyncbatch.aws.jobs import TaggedJob
from asyncbatch.sweep import RunFound, age_of


@pytest.mark.parametrize(
    ("age", "silence", "over"),
    [
        (10.0, None, False),  # is being opened
        (3_600.0, None, True),  # its end was cut short
        (3_600.0, 30.0, False),
        (3_600.0, 200.0, False),  # a sign may be late
        (3_600.0, 241.0, True),
        (None, None, False),  # not ours to judge
    ],
)
def test_a_run_is_over_when_it_has_been_silent_for_long(age: float | None, silence: float | None, over: bool) -> None:  # noqa: FBT001 - a table
    found = RunFound(run="r", age=age, silence=silence, run_lease=120.0, queues=("q",), objects=True, jobs=())
    assert (found.over, found.gone) == (over, False)


@pytest.mark.parametrize(("ended", "over", "gone"), [(True, False, True), (False, True, False)])
def test_of_a_run_that_has_nothing_but_jobs_those_that_go_on_are_left_over(ended: bool, over: bool, gone: bool) -> None:  # noqa: FBT001 - a table
    job = TaggedJob(id="j", ended=ended, tags={})
    found = RunFound(run="r", age=3_600.0, silence=None, run_lease=120.0, queues=(), objects=False, jobs=(job,))
    assert (found.over, found.gone, found.working) == (over, gone, [] if ended else ["j"])


def test_a_run_s_id_tells_when_it_was_opened() -> None:
    assert age_of("19700102-000001-abcd", 86_401.0) == 0.0
    assert age_of("20260101-000000-abcd", 1_767_225_610.0) == 10.0
    assert age_of("something else", 0.0) is None


@pytest.mark.parametrize(
    ("queues", "silence", "in_use"), [(("q",), 30.0, True), ((), 30.0, False), (("q",), 3_000.0, False)]
)
def test_a_run_is_in_use_as_long_as_its_main_is_there(queues: tuple[str, ...], silence: float, *, in_use: bool) -> None:
    job = TaggedJob(id="j", ended=False, tags={})
    found = RunFound(
        run="r", age=3_600.0, silence=silence, run_lease=120.0, queues=queues, objects=bool(queues), jobs=(job,)
    )
    assert found.in_use is in_use

import pytest

from asyncbatch.worker.shares import THREADS, choose_variables

GIB = 1 << 30


def test_slot_has_one_thread_and_a_cache_within_its_memory() -> None:
    assert choose_variables({}, slots=4, memory=16 * GIB) == {**dict.fromkeys(THREADS, "1"), "GDAL_CACHEMAX": "204MB"}


def test_variables_set_by_the_user_are_unchanged() -> None:
    chosen = choose_variables({"OMP_NUM_THREADS": "8", "GDAL_CACHEMAX": "1GB"}, slots=1, memory=GIB)
    assert not {"OMP_NUM_THREADS", "GDAL_CACHEMAX"} & chosen.keys()
    assert chosen["MKL_NUM_THREADS"] == "1"


@pytest.mark.parametrize(("memory", "cache"), [(None, None), (100 << 20, "16MB")])
def test_cache_is_not_set_if_memory_has_no_limit(memory: int | None, cache: str | None) -> None:
    assert choose_variables({}, slots=1, memory=memory).get("GDAL_CACHEMAX") == cache

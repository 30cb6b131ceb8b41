from asyncbatch.joblogs import of_tile

LOG = [
    "INFO tile begun action=tile_begun tile=1",
    "of the first",
    "INFO tile done action=tile_done tile=1 outcome=ok",
    "between",
    "INFO tile begun action=tile_begun tile=11",
    "of the eleventh",
    "INFO tile done action=tile_done tile=11 outcome=ok",
    "INFO tile begun action=tile_begun tile=1",
    "of the first, again",
]


def test_a_tile_s_lines_are_those_between_its_begin_and_its_end() -> None:
    assert of_tile(LOG, 11) == LOG[4:7]
    assert of_tile(LOG, 2) == []


def test_a_second_attempt_counts_and_so_does_one_that_never_ended() -> None:
    assert of_tile(LOG, 1) == [*LOG[:3], *LOG[7:]]

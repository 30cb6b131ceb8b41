# ruff: noqa: RUF001 - the multiplication sign is intended
"""Tests that windows cover every pixel once, and of the comparison of grids by the positions of pixels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbatch.raster.grid import PLAIN, Grid, Tiling, Transform, Window, describe_difference, locate, place

sizes = st.integers(1, 60)
NORTH_UP: Transform = (300_000.0, 30.0, 0.0, 4_500_000.0, 0.0, -30.0)


def grid(**changes: object) -> Grid:
    values: dict[str, object] = {"columns": 100, "rows": 50, "transform": NORTH_UP, "projection": ""}
    return Grid(**{**values, **changes})  # type: ignore[arg-type]  # of the field's types, by each test


@given(columns=sizes, rows=sizes, side=sizes)
def test_tiles_cover_every_pixel_exactly_once(columns: int, rows: int, side: int) -> None:
    tiling = Tiling(columns=columns, rows=rows, window=side)
    times = np.zeros((rows, columns), int)
    for window in tiling:
        assert window == window.clip(columns, rows)
        times[window.y : window.y + window.rows, window.x : window.x + window.columns] += 1
    assert (times == 1).all()
    assert len(list(tiling)) == len(tiling) == tiling.across * tiling.down


@given(columns=sizes, rows=sizes, side=sizes)
def test_only_tiles_at_the_right_and_bottom_edges_are_smaller(columns: int, rows: int, side: int) -> None:
    tiling = Tiling(columns=columns, rows=rows, window=side)
    for tile, window in enumerate(tiling):
        assert window.columns == side or tile % tiling.across == tiling.across - 1
        assert window.rows == side or tile // tiling.across == tiling.down - 1


def test_tiles_are_ordered_row_by_row() -> None:
    windows = list(Tiling(columns=5, rows=3, window=2))
    assert [(window.x, window.y) for window in windows] == [(0, 0), (2, 0), (4, 0), (0, 2), (2, 2), (4, 2)]


@pytest.mark.parametrize("tile", [-1, 6])
def test_tile_beyond_the_last_is_rejected(tile: int) -> None:
    with pytest.raises(IndexError, match=f"no tile {tile} among 6"):
        Tiling(columns=5, rows=3, window=2)[tile]


@given(columns=sizes, rows=sizes, side=sizes, margin=st.integers(0, 20))
def test_margin_extends_every_side(columns: int, rows: int, side: int, margin: int) -> None:
    for window in Tiling(columns=columns, rows=rows, window=side):
        grown = window.grow(margin)
        assert (window.x - grown.x, window.y - grown.y) == (margin, margin)
        assert (grown.columns - window.columns, grown.rows - window.rows) == (2 * margin, 2 * margin)
        inside = grown.clip(columns, rows)
        assert inside.x >= 0 <= inside.y
        assert inside.x + inside.columns <= columns
        assert inside.y + inside.rows <= rows


def test_window_is_formatted() -> None:
    assert str(Window(x=256, y=512, columns=256, rows=233)) == "window x=256 y=512 256×233 pixels"


@given(column=st.floats(-1e4, 1e4), row=st.floats(-1e4, 1e4))
def test_coordinates_are_inverted_on_a_rotated_grid(column: float, row: float) -> None:
    rotated = (1e5, 20.0, 5.0, 5e6, 7.0, -21.0)
    assert place(rotated, *locate(rotated, column, row)) == pytest.approx((column, row), abs=1e-4)


def test_equal_grids_have_no_difference() -> None:
    assert describe_difference(grid(), grid(), same_projection=True) is None


def test_grid_without_geotransform_has_the_default_one() -> None:
    assert describe_difference(grid(transform=None), grid(transform=PLAIN), same_projection=True) is None


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"columns": 101}, "the sizes differ"),
        ({"rows": 49}, "the sizes differ"),
        ({"transform": None}, "pixels apart"),
        ({"transform": (300_015.0, *NORTH_UP[1:])}, "the pixels are up to 0.5 pixels apart"),
        ({"transform": (300_000.0, 30.01, *NORTH_UP[2:])}, "the pixels are up to 0.0333 pixels apart"),
        ({"transform": (*NORTH_UP[:5], 30.0)}, "the pixels are up to 100 pixels apart"),
        ({"transform": (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)}, "pixels apart"),
    ],
)
def test_difference_of_grids_is_described(changes: dict[str, object], why: str) -> None:
    assert why in str(describe_difference(grid(), grid(**changes), same_projection=True))
    assert describe_difference(grid(**changes), grid(), same_projection=True) is not None


def test_difference_of_projections_is_described() -> None:
    assert describe_difference(grid(), grid(), same_projection=False) == "the projections differ"


@pytest.mark.parametrize("offset", [0.0, 0.009, -0.009])
def test_rounding_in_a_geotransform_is_ignored(offset: float) -> None:
    shifted = (NORTH_UP[0] + 30 * offset, *NORTH_UP[1:])
    assert describe_difference(grid(), grid(transform=shifted), same_projection=True) is None


def test_grid_is_formatted() -> None:
    named = grid(projection='PROJCS["WGS 84 / UTM zone 12N",GEOGCS["WGS 84"]]')
    assert str(named) == (
        "100×50 pixels, geotransform (300000, 30, 0, 4500000, 0, -30), projection 'WGS 84 / UTM zone 12N'"
    )
    assert str(grid(transform=None)) == "100×50 pixels, no geotransform, no projection"


def test_pixel_size_of_a_rotated_grid() -> None:
    assert grid(transform=(0.0, 3.0, -8.0, 0.0, 4.0, 6.0)).pixel_size == (5.0, 10.0)

import re
from argparse import ArgumentTypeError

import pytest

from asyncbatch.cli.arguments import parse_size
from asyncbatch.cli.entry import main
from asyncbatch.cli.estimate import format_seconds

TILES = ["estimate", "--tiles", "10000", "--seconds", "30", "--payload", "400k", "--result", "400k"]


def run(capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, str]:
    """Return the command's output as a dict of its lines by their first word."""
    assert main([*TILES, "--region", "us-east-1", *more]) == 0
    lines = capsys.readouterr().out.splitlines()
    return {line.split()[0]: line for line in lines}


def find_number(line: str) -> float:
    found = re.search(r"\d[\d.,]*", line)
    assert found
    return float(found[0].replace(",", ""))


def test_estimate_prints_time_requests_and_cost(capsys: pytest.CaptureFixture[str]) -> None:
    found = run(capsys, "--workers", "100")
    assert find_number(found["wall"]) == pytest.approx(50, rel=0.05)  # minutes
    assert find_number(found["requests"]) > 40_000
    assert find_number(found["transfer"]) == pytest.approx(0.36)


def test_fewer_workers_with_more_vcpus_take_the_same_time(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "--workers", "25", "--vcpus", "4")["wall"] == run(capsys, "--workers", "100")["wall"]


def test_on_demand_has_a_price_and_spot_a_range(capsys: pytest.CaptureFixture[str]) -> None:
    assert " to " in run(capsys, "--compute", "SPOT")["workers"]
    assert " to " not in run(capsys, "--compute", "FARGATE")["workers"]


def test_vcpus_that_fargate_does_not_support_are_rejected(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TILES, "--compute", "FARGATE", "--vcpus", "3"]) == 1
    assert "3" in capsys.readouterr().err


@pytest.mark.parametrize(("text", "size"), [("0", 0), ("400k", 400_000), ("1.5M", 1_500_000), ("2G", 2_000_000_000)])
def test_sizes_are_parsed(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "k", "4K", "-1", "nan", "inf", "400kB"])
def test_invalid_sizes_are_rejected(text: str) -> None:
    with pytest.raises(ArgumentTypeError):
        parse_size(text)


@pytest.mark.parametrize(("seconds", "text"), [(1.94, "1.9 s"), (61.0, "1 min 1 s"), (7260.0, "2 h 1 min")])
def test_durations_are_formatted(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text

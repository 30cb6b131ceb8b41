import signal
import subprocess
import sys
from pathlib import Path

import pytest

from asyncbatch.worker.guard import describe_end
from asyncbatch.worker.memory import find_oom_counter, read_oom_kills

MIB = 2**20


def in_slot(code: str) -> list[int]:
    """Run code in another process, forked as slots are, and return the numbers that it prints."""
    fork = "if os.fork():\n    sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))\n"
    text = f"import mmap, os, resource, sys\nfrom asyncbatch.worker.memory import *\n{fork}{code}"
    found = subprocess.run([sys.executable, "-c", text], check=True, capture_output=True, text=True)
    return [int(word) for word in found.stdout.split()]


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_peak_is_measured_since_its_reset() -> None:
    big, small = in_slot(
        f"x = b'1' * (100 * {MIB}); del x; print(read_peak()); reset_peak(); x = b'1' * {MIB}; print(read_peak())"
    )
    assert big > 100 * MIB
    assert big - small > 50 * MIB


def test_limit_is_added_to_the_memory_of_the_process() -> None:
    assert in_slot(
        f"""
x = b"1" * (60 * {MIB})
limit_memory(50 * {MIB})
y = b"1" * (30 * {MIB})
try:
    z = b"1" * (30 * {MIB})
except MemoryError:
    print(1)
"""
    ) == [1]


def test_existing_limit_is_not_raised() -> None:
    low, low_too = in_slot(
        f"""
resource.setrlimit(resource.RLIMIT_DATA, (500 * {MIB}, 500 * {MIB}))
limit_memory(5000 * {MIB})
print(*resource.getrlimit(resource.RLIMIT_DATA))
"""
    )
    assert (low, low_too) == (500 * MIB, 500 * MIB)


@pytest.mark.parametrize(
    ("group", "counter"),
    [
        ("0::/a/b", "a/b/memory.events"),
        ("0::/not/mounted/here", "memory.events"),
        ("4:cpu,memory:/a", "memory/a/memory.oom_control"),
        ("4:memory:/not/mounted/here", "memory/memory.oom_control"),
    ],
)
def test_kills_are_counted_in_the_process_s_control_group(tmp_path: Path, group: str, counter: str) -> None:
    groups, process = tmp_path / "groups", tmp_path / "proc"
    write(process / "self" / "cgroup", f"9:name=systemd:/\n{group}\n")
    write(process / "vmstat", "nr_free_pages 5\noom_kill 7\n")
    assert read_oom_kills(find_oom_counter(groups, process)) == 7
    write(groups / counter, "oom 9\noom_kill 3\noom_group_kill 0\n")
    assert read_oom_kills(find_oom_counter(groups, process)) == 3


def test_number_of_kills_can_be_unknown(tmp_path: Path) -> None:
    assert read_oom_kills(find_oom_counter(tmp_path, tmp_path)) is None


@pytest.mark.parametrize(("kills", "cause"), [(None, "died"), (0, "died"), (1, "memory")])
def test_kill_is_attributed_to_memory_if_the_kernel_reports_it(kills: int | None, cause: str) -> None:
    loss = describe_end(-signal.SIGKILL, peak=300 * MIB, oom_kills=kills)
    assert (loss.cause, loss.peak) == (cause, 300 * MIB)
    assert "SIGKILL" in loss.reason
    assert "300 MiB" in loss.reason


@pytest.mark.parametrize("code", [0, 1, 255, -signal.SIGSEGV, -40])
def test_other_ends_are_not_attributed_to_memory(code: int) -> None:
    assert describe_end(code, peak=5, oom_kills=1).cause == "died"

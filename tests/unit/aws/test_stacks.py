import re

from asyncbatch.worker.stacks import trim_stacks

TEXT = """\
Thread 0x1 (most recent call first):
  File "/lib/child.py", line 9 in _exactly
  File "/lib/threading.py", line 5 in run

Thread 0x2 (most recent call first):
  File "/home/me/pool.py", line 1 in help
  File "/lib/threading.py", line 5 in run

Current thread 0x3 (most recent call first):
  File "/home/me/tile.py", line 3 in inner
  File "/home/me/tile.py", line 2 in outer
  File "/lib/child.py", line 9 in _compute
  File "/lib/child.py", line 8 in main
"""


def test_stacks_only_show_calls_of_the_user() -> None:
    kept = trim_stacks(TEXT, own="/lib/child.py")
    assert re.findall(r"Thread 0x\d|thread 0x\d|(?<= in )\w+", kept) == [
        *("Thread 0x2", "help", "run"),
        *("thread 0x3", "inner", "outer"),
    ]


def test_incomplete_stacks_are_not_an_error() -> None:
    assert not trim_stacks("  a line outside threads\nThread 0x1", own="/lib/child.py").strip()

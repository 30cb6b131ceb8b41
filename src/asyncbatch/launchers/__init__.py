"""What starts workers: AWS Batch, or processes of this machine."""

from typing import Final, Literal, get_args

LauncherName = Literal["batch", "subprocess"]
LAUNCHER_NAMES: Final[tuple[str, ...]] = get_args(LauncherName)
"""The launchers that go by a name; `registry` opens them."""

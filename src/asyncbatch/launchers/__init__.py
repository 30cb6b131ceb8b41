"""Launchers start workers: with AWS Batch, or as processes of this machine."""

from typing import Final, Literal, get_args

LauncherName = Literal["batch", "subprocess"]
LAUNCHER_NAMES: Final[tuple[str, ...]] = get_args(LauncherName)
"""The names of built-in launchers; `registry` opens them."""

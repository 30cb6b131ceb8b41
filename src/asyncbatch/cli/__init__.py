"""The command ``asyncbatch``."""

from asyncbatch.cli.entry import main

__all__ = ["main"]

"""Forks processes from a server that has already imported their modules, which is faster than new interpreters."""

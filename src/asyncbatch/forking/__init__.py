"""Processes forked from one that has loaded what they need, instead of a fresh interpreter for each."""

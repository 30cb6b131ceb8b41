"""Decides when to send and how much to prefetch, for main and workers. Only `batcher` waits."""

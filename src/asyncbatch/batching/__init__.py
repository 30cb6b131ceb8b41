"""When things move: batches, prefetch, and the window. Both ends use it, and only `batcher` waits for anything."""

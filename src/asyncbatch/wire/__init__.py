"""The protocol between main and workers: messages, bodies, the manifest and the environment of a worker."""

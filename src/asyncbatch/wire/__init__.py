"""What main and workers must agree on: messages, bodies, the manifest and the environment of a worker."""

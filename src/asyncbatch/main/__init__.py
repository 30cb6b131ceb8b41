"""The main side: sends tiles out, takes results in, and looks after the workers."""

"""The main side: sends tiles, receives results, and manages workers."""

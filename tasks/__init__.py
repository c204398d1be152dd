"""One thin Prefect task per step: read, one library call, write, return a path."""

"""Data sets, networks and runs (extra `experiments`)."""

"""Child processes: start, watch, restart, stop in order."""

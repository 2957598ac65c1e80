"""Entry points of the servers: they read settings, build objects and start one TaskGroup, nothing else."""

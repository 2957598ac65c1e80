"""A real single-node Kubernetes on this machine, and named extra ones."""

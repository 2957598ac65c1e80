"""A small library that serves aggregated Kubernetes API groups from declarations."""

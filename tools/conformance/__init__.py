"""Kubernetes' own conformance specs, run against the embedded cluster and a virtual cluster on it."""

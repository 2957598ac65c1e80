"""Envoy's configuration as plain JSON objects (proto3 JSON mapping of the v3 API). Pure."""

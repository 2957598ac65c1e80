"""What a tenant has: for each kind a pure plan and its wiring to the API server."""

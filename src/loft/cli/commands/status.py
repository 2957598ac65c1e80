"""`loft status`."""

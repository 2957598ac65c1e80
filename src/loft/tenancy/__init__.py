"""What a tenant has: one folder per kind with a pure plan and the wiring that watches."""

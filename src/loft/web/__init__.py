"""The platform's own pages, behind the gateway: signing in, version, and what agents call."""

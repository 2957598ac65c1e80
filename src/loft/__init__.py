"""Self-service, multi-tenant platform for Kubernetes.

See ARCHITECTURE.md for the map: rooms, their invariants and where things are added.
"""

__version__ = "0.1.0"

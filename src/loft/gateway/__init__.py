"""How requests reach a cluster: Envoy's configuration (pure) and its control plane (shell)."""

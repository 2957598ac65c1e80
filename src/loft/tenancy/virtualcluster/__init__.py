"""VirtualCluster objects become Helm releases of the chart `virtualcluster`, each in its own namespace."""

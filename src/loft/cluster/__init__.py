"""The resources of cluster.loft.sh/v1, declared on the apiserver library; runs in each agent."""

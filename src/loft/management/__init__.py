"""The resources of management.loft.sh/v1, declared on the apiserver library; runs at the centre."""

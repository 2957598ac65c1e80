"""The syncer and kubelet of one virtual cluster."""

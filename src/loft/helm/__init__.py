"""Charts: render, install as somebody, releases; the helm binary is the only Helm here."""

"""Controllers of others that run on the host cluster, or inside a virtual one, while tests look at what they do."""

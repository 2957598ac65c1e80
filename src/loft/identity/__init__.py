"""Who somebody is and what their credential may do: keys, passwords, the directory, scopes, tokens (pure)."""

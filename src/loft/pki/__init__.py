"""Keys and certificates: authorities, issuing, renewal before the end."""

"""The command line `loft`: one file per noun and verb, all through the public API."""

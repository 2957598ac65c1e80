"""The command line `loft`: one file per noun and verb, all through the public API.

Invariants: data goes to stdout and messages to stderr; nothing heavy is imported before a command
needs it, because the kubeconfigs we write run `loft token` on every kubectl call.
"""

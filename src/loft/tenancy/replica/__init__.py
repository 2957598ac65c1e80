"""What an agent needs to decide while the centre is away: pushed over its own connection, kept under a lease."""

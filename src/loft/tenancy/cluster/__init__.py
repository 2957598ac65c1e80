"""Connected clusters: installing the agent, its credentials, where it is reached, whether it is there."""

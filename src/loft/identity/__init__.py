"""Who somebody is: passwords, access keys, the directory of users (pure)."""

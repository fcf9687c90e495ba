"""Several processes that answer on one port, and what they share."""

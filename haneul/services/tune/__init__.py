"""A model's best setup on this machine, found by measuring: search, choice, what is kept."""

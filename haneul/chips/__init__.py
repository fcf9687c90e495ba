"""What hardware is here, what fits on it, how fast it will be, what an hour of it costs."""

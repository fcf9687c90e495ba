"""Which model answers a prompt well enough for the least money: the decision behind routing."""

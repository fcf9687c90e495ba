"""Files of requests that are answered when there is room, at a lower price."""

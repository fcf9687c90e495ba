"""The Model Context Protocol: models of this cloud as tools of other programs."""

"""The hub: references, sources, pulls, verified files, the catalogue."""

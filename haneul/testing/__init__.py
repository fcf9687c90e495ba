"""Honest fakes: small real servers and files that stand in for the far side of a seam."""

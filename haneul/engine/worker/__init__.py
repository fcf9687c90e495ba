"""Kernels that only know tokens, each in a process of its own, and the way to talk to them."""

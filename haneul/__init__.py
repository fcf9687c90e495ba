"""haneul: the open, self-hosted, full-stack AI cloud."""

__version__ = "0.1.0"

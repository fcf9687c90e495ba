"""Genuine llama-server from the wheel: the fallback that reads every architecture."""

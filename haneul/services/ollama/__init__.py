"""Ollama's API, told by engines of OpenAI's protocol."""

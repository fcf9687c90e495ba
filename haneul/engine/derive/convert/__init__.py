"""Turns a safetensors repository into one GGUF file, weight by weight and token by token."""

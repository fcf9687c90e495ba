"""What a plan must know of a model, read from a GGUF header or a config.json."""

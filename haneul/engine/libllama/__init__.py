"""Our own scheduler over libllama, with a prefix cache that running sequences share."""

"""The model-chip matrix: what models did on chips, here and where others measured and signed."""

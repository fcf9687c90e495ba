"""The other modalities of the engine: speech to text, text to speech, images."""

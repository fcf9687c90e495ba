"""What each maker's tool prints of its accelerators, read without guessing."""

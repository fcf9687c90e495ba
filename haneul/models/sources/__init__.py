"""Where models come from, and which of a repository's files are taken."""

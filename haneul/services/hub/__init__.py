"""The hub as other tools know hubs: the read and upload API of Hugging Face, and ModelScope's."""

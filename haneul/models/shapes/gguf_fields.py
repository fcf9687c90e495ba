"""The measures that the header of a GGUF file states of its architecture."""

from __future__ import annotations

from haneul.base.errors import BrokenFile
from haneul.base.gguf import Header


class Fields:
    """The metadata of the architecture, by their names without it."""

    def __init__(self, header: Header) -> None:
        self.metadata = header.metadata
        self.architecture = str(header.metadata.get("general.architecture", ""))

    def numbers(self, name: str) -> tuple[int, ...]:
        """One number, or one per layer; empty where there is none."""
        value = self.metadata.get(f"{self.architecture}.{name}", ())
        counts = value if isinstance(value, tuple) else (value,)
        return tuple(count for count in counts if isinstance(count, int) and count >= 0)

    def number(self, name: str, *, required: bool = False) -> int:
        """The number, the largest of those per layer; 0 for none. Raises BrokenFile if required."""
        found = max(self.numbers(name), default=0)
        if required and found < 1:
            raise BrokenFile(f"{self.architecture}.{name} is missing.")
        return found

    def flags(self, name: str) -> tuple[bool, ...]:
        """A yes or no for each layer; empty where there is no such list."""
        value = self.metadata.get(f"{self.architecture}.{name}", ())
        return tuple(bool(each) for each in value) if isinstance(value, tuple) else ()

    def head_size(self, of: str) -> int:
        """Numbers of one head's key or value; 0 where the file does not tell."""
        heads = max(self.numbers("attention.head_count"), default=0)
        even = self.number("embedding_length") // heads if heads else 0
        return self.number(f"attention.{of}_length") or even

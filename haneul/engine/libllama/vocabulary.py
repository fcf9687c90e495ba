"""What a model's tokens stand for: text to tokens and back, by libllama's own tokeniser."""

from __future__ import annotations

import ctypes as c
from collections.abc import Collection
from pathlib import Path
from typing import Any

from haneul.base.errors import BrokenFile
from haneul.engine.libllama.library import Library

CONTROL, USER_DEFINED = 1 << 3, 1 << 4  # llama_token_attr
_INTEGERS = c.POINTER(c.c_int32)


class Vocabulary:
    """The vocabulary of one GGUF file. Safe to use from several threads.

    Made from a loaded model's `vocab`, or by `open`, which reads nothing else of the file.
    """

    def __init__(self, library: Library, vocab: Any, *, model: Any = None) -> None:
        self.library = library
        self.vocab = vocab
        self._model = model  # ours to free, if any
        self.size: int = library.vocab_n_tokens(vocab)
        self.bos_token: int = library.vocab_bos(vocab)  # -1: there is none
        self.eos_token: int = library.vocab_eos(vocab)
        self.bos = self._text(self.bos_token)
        self.eos = self._text(self.eos_token)
        self.adds_bos = bool(library.vocab_get_add_bos(vocab))
        self.ends = frozenset(
            token for token in range(self.size) if library.vocab_is_eog(vocab, token)
        )
        self._pieces: list[bytes | None] = [None] * self.size
        self._special: dict[int, bytes] = {}

    @classmethod
    def open(cls, library: Library, file: Path) -> Vocabulary:
        """The vocabulary alone. Raises BrokenFile; `close` it."""
        settings = library.model_default_params()
        settings.vocab_only = True
        model = library.model_load_from_file(str(file).encode(), settings)
        if not model:
            raise BrokenFile(f"The kernel cannot load this model: {library.reason(file)}")
        return cls(library, library.model_get_vocab(model), model=model)

    def close(self) -> None:
        if self._model:
            self.library.model_free(self._model)
            self._model = None

    def tokenise(self, text: str, *, with_special: bool) -> list[int]:
        """Token ids. Special tokens written in the text count as such.

        `with_special`: a begin-of-text token comes first, where the vocabulary says so.
        """
        data = text.encode(errors="replace")
        room = len(data) + 8
        while True:
            tokens = (c.c_int32 * room)()
            count = self.library.tokenize(
                self.vocab, data, len(data), tokens, room, with_special, True
            )
            if count >= 0:
                return tokens[:count]
            room = -count

    def detokenise(self, tokens: list[int]) -> str:
        """The text of tokens, special ones included. Raises ValueError for unknown ids."""
        if not tokens:
            return ""
        if not all(0 <= token < self.size for token in tokens):
            raise ValueError("a token that the vocabulary does not have")
        given = (c.c_int32 * len(tokens))(*tokens)
        room = 16 * len(tokens) + 64
        while True:
            buffer = c.create_string_buffer(room)
            count = self.library.detokenize(
                self.vocab, given, len(tokens), buffer, room, False, True
            )
            if count >= 0:
                return buffer.raw[:count].decode(errors="replace")
            room = -count

    def piece(self, token: int, marks: Collection[str] = ()) -> bytes:
        """The bytes of one token; of a special one only when `marks` has its text."""
        data = self._pieces[token]
        if data is None:
            data = self._pieces[token] = self._piece(token, with_special=False)
        if marks and not data:
            seen = self.special(token)
            return seen if seen.decode(errors="replace") in marks else b""
        return data

    def special(self, token: int) -> bytes:
        """The bytes of one token as it is written in templates, special or not."""
        if token not in self._special:
            self._special[token] = self._piece(token, with_special=True)
        return self._special[token]

    def is_special(self, token: int) -> bool:
        """Whether a token stands for no text: a mark of templates and tools."""
        kind = self.library.vocab_get_attr(self.vocab, token)
        if not kind & USER_DEFINED:
            return bool(kind & CONTROL)
        text = self.special(token)
        return text.startswith(b"<") and text.endswith(b">")

    def is_end(self, token: int) -> bool:
        """Whether the model ends its turn with this token."""
        return token in self.ends

    def _piece(self, token: int, *, with_special: bool) -> bytes:
        room = 64
        while True:
            buffer = c.create_string_buffer(room)
            count = self.library.token_to_piece(self.vocab, token, buffer, room, 0, with_special)
            if count >= 0:
                return buffer.raw[:count]
            room = -count

    def _text(self, token: int) -> str:
        text = self.library.vocab_get_text(self.vocab, token) if token >= 0 else None
        return str(text.decode(errors="replace")) if text else ""

"""A model's weights in this process, and what they say of themselves."""

from __future__ import annotations

import ctypes as c
from pathlib import Path
from typing import Any

from haneul.base.errors import BrokenFile
from haneul.engine.kernel import Facts
from haneul.engine.libllama.library import Library
from haneul.engine.libllama.vocabulary import Vocabulary
from haneul.engine.worker.stepper import CannotServe

MANY_POSITIONS = {8: "M-RoPE", 24: "vision RoPE", 40: "interleaved M-RoPE"}  # llama_rope_type
_TRAITS = {
    "is_recurrent": "is recurrent",
    "is_hybrid": "is partly recurrent",
    "is_diffusion": "is a diffusion model",
    "has_encoder": "has an encoder",
}


class Model:
    """Loaded weights with their adapters; `close` gives everything back."""

    def __init__(self, library: Library, file: Path) -> None:
        self.library = library
        self.file = file
        self.handle = library.model_load_from_file(
            str(file).encode(), library.model_default_params()
        )
        if not self.handle:
            raise BrokenFile(f"The kernel cannot load this model: {library.reason(file)}")
        self.vocabulary = Vocabulary(library, library.model_get_vocab(self.handle))
        self._adapters: dict[str, Any] = {}

    def check(self) -> None:
        """Raises CannotServe for a model whose memory is not one cell per token."""
        for trait, words in _TRAITS.items():
            if getattr(self.library, f"model_{trait}")(self.handle):
                raise CannotServe(f"The model {words}: its memory has no cells to share.")
        rope = self.library.model_rope_type(self.handle)
        if rope in MANY_POSITIONS:
            raise CannotServe(
                f"The model has several positions per token ({MANY_POSITIONS[rope]})."
            )
        if self.vocabulary.size <= 0:
            raise CannotServe("The model has no vocabulary.")

    def adapter(self, name: str, file: Path) -> Any:
        """The handle of a LoRA adapter, loaded once. Raises BrokenFile."""
        if name not in self._adapters:
            handle = self.library.adapter_lora_init(self.handle, str(file).encode())
            if not handle:
                reason = self.library.reason(file)
                raise BrokenFile(f"The adapter {name} does not fit this model: {reason}")
            self._adapters[name] = handle
        return self._adapters[name]

    def meta(self, key: str) -> str | None:
        """A value of the file's metadata, as text."""
        buffer = c.create_string_buffer(256)
        count = self.library.model_meta_val_str(self.handle, key.encode(), buffer, 256)
        return buffer.value.decode(errors="replace") if count >= 0 else None

    def template(self) -> str | None:
        """The chat template as it stands in the file."""
        text = self.library.model_chat_template(self.handle, None)
        return text.decode(errors="replace") if text else None

    def facts(self, *, context_tokens: int) -> Facts:
        return Facts(
            context_tokens=context_tokens,
            trained_context_tokens=self.library.model_n_ctx_train(self.handle),
            vocabulary=self.vocabulary.size,
            width=self.library.model_n_embd(self.handle),
            parameters=self.library.model_n_params(self.handle),
            size_bytes=self.library.model_size(self.handle),
            has_tools=False,  # whoever renders the template knows
        )

    def close(self) -> None:
        if self.handle:
            self.library.model_free(self.handle)  # and with it the adapters
            self.handle = None

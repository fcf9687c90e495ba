"""The addresses that Ollama's clients ask engines at."""

from __future__ import annotations

from collections.abc import Callable

from haneul.base.errors import UnsupportedValue
from haneul.services.ask import Ask
from haneul.services.dialect import Told
from haneul.services.flights import Counters
from haneul.services.keys import Key
from haneul.services.ollama import request, told

Context = Callable[[Key, str], int | None]  # tokens of context that a model has; None: unknown
_READERS: dict[str, Callable[[bytes], Ask]] = {
    request.CHAT: request.read_chat,
    request.GENERATE: request.read_generate,
    request.EMBED: request.read_embed,
    request.EMBEDDINGS: request.read_embeddings,
}


class Ollama(told.Errors):
    """One of the addresses, by the name of its route."""

    def __init__(self, name: str, context: Context) -> None:
        self.name = name
        self._context = context
        self._read = _READERS[name]

    async def open(self, key: Key, data: bytes) -> Ask:
        ask = self._read(data)
        if ask.client.num_ctx is not None:
            self._check_context(key, ask.model, ask.client.num_ctx)
        return ask

    def _check_context(self, key: Key, model: str, wanted: int) -> None:
        """A context is of an engine, not of a request: a smaller one is there anyway."""
        have = self._context(key, model)
        if have is None or wanted > have:
            known = f"{have} tokens of context" if have else "a context nobody told haneul"
            raise UnsupportedValue(
                f"This model has {known}; leave 'num_ctx' out.", param="options.num_ctx"
            )

    def stream(self, ask: Ask, counters: Counters) -> Told:
        return told.Stream(ask, counters)

    def whole(self, ask: Ask, data: bytes, *, cost_nano: int, currency: str) -> bytes:
        tell = told.whole if self.name in (request.CHAT, request.GENERATE) else told.embedded
        return tell(ask, data, cost_nano=cost_nano, currency=currency)

    async def keep(self, key: Key, ask: Ask, answer: Told | bytes) -> None:
        """An answer is not to be found again."""

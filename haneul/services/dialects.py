"""Every address that answers are generated at, and how errors are told at all others."""

from __future__ import annotations

from collections.abc import Mapping

from haneul.services import openai
from haneul.services.anthropic.dialect import MESSAGES, Anthropic
from haneul.services.dialect import Dialect, Errors
from haneul.services.hub.told import HubErrors, ScopeErrors
from haneul.services.mcp.wire import Errors as McpErrors
from haneul.services.ollama.told import Errors as OllamaErrors
from haneul.services.rerank import Rerank


class Dialects:
    """Addresses to dialects; beside them, prefixes of addresses whose errors have another shape."""

    def __init__(
        self, at: Mapping[str, Dialect], errors_below: Mapping[str, Errors] | None = None
    ) -> None:
        self.at = dict(at)
        self._errors_below = dict(errors_below or {})
        self._plain = openai.OpenAIErrors()

    def errors(self, path: str) -> Errors:
        """How the clients of an address are told what failed; OpenAI's way where nobody says."""
        if (dialect := self.at.get(path)) is not None:
            return dialect
        for prefix, errors in self._errors_below.items():
            if path.startswith(prefix):
                return errors
        return self._plain


def every(more: Mapping[str, Dialect] | None = None) -> Dialects:
    """All dialects that need nothing but the request, and those that come ready."""
    anthropic, rerank = Anthropic(), Rerank()
    return Dialects(
        at={
            **openai.DIALECTS,
            MESSAGES: anthropic,
            "/v1/rerank": rerank,
            "/v2/rerank": rerank,  # as Cohere's newer clients ask
            **(more or {}),
        },
        errors_below={
            MESSAGES: anthropic,
            "/api/": OllamaErrors(),
            "/mcp": McpErrors(),
            "/hub/api/v1/": ScopeErrors(),
            "/hub/": HubErrors(),
        },
    )

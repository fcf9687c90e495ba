"""LangChain's own standard tests, with its OpenAI integration pointed at a cloud.

Run in an environment of its own by tests/flow/test_gateway_langchain.py, which says in the
environment where the cloud is: HANEUL_URL, HANEUL_KEY, HANEUL_MODEL,
HANEUL_OTHER_MODEL, HANEUL_MAX_TOKENS.
"""

from __future__ import annotations

import os
from typing import Any

from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from langchain_tests.integration_tests import (
    ChatModelIntegrationTests,
    EmbeddingsIntegrationTests,
)

CLOUD = {"base_url": os.environ["HANEUL_URL"], "api_key": os.environ["HANEUL_KEY"]}


class TestChat(ChatModelIntegrationTests):
    """What the properties leave out is said there by name."""

    @property
    def chat_model_class(self) -> type[ChatOpenAI]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        most = int(os.environ["HANEUL_MAX_TOKENS"])
        model = os.environ["HANEUL_MODEL"]
        return {**CLOUD, "model": model, "max_tokens": most, "stream_usage": True}

    @property
    def has_tool_calling(self) -> bool:
        return True

    @property
    def has_tool_choice(self) -> bool:
        return True

    @property
    def has_structured_output(self) -> bool:
        return True

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_image_inputs(self) -> bool:
        return False  # the engine behind these tests reads texts alone

    @property
    def supports_image_tool_message(self) -> bool:
        return False  # the same

    @property
    def supports_pdf_inputs(self) -> bool:
        return False  # no engine here reads PDF

    @property
    def supports_pdf_tool_message(self) -> bool:
        return False  # the same

    @property
    def supports_audio_inputs(self) -> bool:
        return False  # sound goes to /v1/audio, not into a chat

    @property
    def enable_vcr_tests(self) -> bool:
        return False  # recordings would replace the cloud

    @property
    def supports_anthropic_inputs(self) -> bool:
        return False  # Anthropic's blocks go to /v1/messages, not to OpenAI's address

    @property
    def model_override_value(self) -> str:
        return os.environ["HANEUL_OTHER_MODEL"]


class TestEmbeddings(EmbeddingsIntegrationTests):
    """Texts go as texts: cutting them into another vendor's tokens is turned off."""

    @property
    def embeddings_class(self) -> type[OpenAIEmbeddings]:
        return OpenAIEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        model = os.environ["HANEUL_MODEL"]
        return {**CLOUD, "model": model, "check_embedding_ctx_length": False}

"""Asks as programs of early 2025 do, in a process of its own: URL KEY THINKING CALLING ECHO.

Prints one JSON object of what an old client made of the answers.
"""

from __future__ import annotations

import json
import sys

import anthropic

root, key, thinking, calling, echo = sys.argv[1:]
client = anthropic.Anthropic(base_url=root, api_key=key, max_retries=0, timeout=30)
asked = {"max_tokens": 20, "messages": [{"role": "user", "content": "three small words"}]}
whole = client.messages.create(model=echo, temperature=0.5, **asked)
with client.messages.stream(model=echo, **asked) as stream:
    streamed = list(stream.text_stream)
with client.messages.stream(model=calling, **asked) as stream:
    called = stream.get_final_message()
with client.messages.stream(
    model=thinking, extra_body={"thinking": {"type": "disabled"}}, **asked
) as stream:
    thought = stream.get_final_message()
try:
    client.messages.create(model="nobody", **asked)
except anthropic.NotFoundError as error:
    refused = error.body["error"]["type"]
print(
    json.dumps(
        {
            "version": anthropic.__version__,
            "whole": whole.content[0].text,
            "counts": [whole.usage.input_tokens, whole.usage.output_tokens],
            "streamed": streamed,
            "called": [[block.name, block.input] for block in called.content],
            "why": called.stop_reason,
            "text": thought.content[-1].text,
            "refused": refused,
        }
    )
)

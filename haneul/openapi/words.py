"""What is said of fields that several protocols share, so that each is said once."""

from __future__ import annotations

SHARED = {
    "stream": "Whether the answer comes as events.",
    "temperature": "0 always takes the likeliest token.",
    "top_p": "Takes from the likeliest tokens that have this probability together.",
    "top_k": "Takes from so many of the likeliest tokens.",
    "min_p": "Takes tokens with at least this share of the likeliest one's probability.",
    "seed": "The same seed gives the same answer on the same engine and setup.",
    "stop": "Texts that end the answer.",
    "presence_penalty": "Against tokens that were said.",
    "frequency_penalty": "Against tokens, by how often they were said.",
    "repeat_penalty": "Divides what was said lately; 1: nothing.",
    "logprobs": "Whether each token comes with its likelihood.",
    "dimensions": "The embedded engine has its own size only.",
    "tools": "Functions that the model may call.",
    "tool_choice": "`none`, `auto`, `required`, or a function by its name.",
    "parallel_tool_calls": "Whether one answer may call several.",
    "user": "Kept in the ledger.",
    "safety_identifier": "Kept in the ledger where `user` is not said.",
}
SAMPLING = (
    *("temperature", "top_p", "min_p", "seed", "stop"),
    *("presence_penalty", "frequency_penalty", "repeat_penalty"),
)


def shared(*names: str) -> dict[str, str]:
    """Of these fields."""
    return {name: SHARED[name] for name in names}

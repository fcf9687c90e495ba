"""Anthropic's Messages API, told by engines of OpenAI's protocol."""

"""The OpenAI Responses API: its requests as chats, its answers, and those that are kept."""

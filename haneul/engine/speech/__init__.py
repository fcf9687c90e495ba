"""What turns messages into tokens and tokens into messages: templates, thoughts, tool calls."""

"""The embedded engine: one model, one process, the OpenAI protocol on a Unix socket."""

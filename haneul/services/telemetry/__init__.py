"""What watchers are told of requests, and OpenTelemetry as one of them."""

"""The gateway: keys, budgets, metering, engines, and the path of a request."""

"""The public API as a promise: tables of addresses, fields and headers, and what they make."""

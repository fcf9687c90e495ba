"""The public API as a promise: tables of its addresses, fields, headers; /openapi.json from them."""

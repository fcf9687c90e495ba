"""How bytes come here: one fetcher, several connections, several sources, one hash."""

"""Makes the suites that come with haneul; `python -m bench.suites` writes them anew."""

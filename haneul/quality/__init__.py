"""Is an answer good enough, and what does a good one cost: suites, checks, runs, boards."""

"""One signed file of models, catalogue and prices, for machines that no network joins."""

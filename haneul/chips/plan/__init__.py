"""Plans before anything is bought: does it fit, how fast, where a step's time goes."""

"""What was foretold of each engine that started here, against what it then did."""

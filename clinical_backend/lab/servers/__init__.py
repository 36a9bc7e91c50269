"""Real servers of one's own, for the demonstration, tests and benchmarks."""

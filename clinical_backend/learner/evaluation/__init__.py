"""How good a classifier is, and which of two is better."""

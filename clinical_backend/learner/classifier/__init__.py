"""The classifier on top of features."""

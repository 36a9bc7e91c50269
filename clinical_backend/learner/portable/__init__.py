"""A model in one file: from decoded pixels to probabilities, without what it was learnt with."""
